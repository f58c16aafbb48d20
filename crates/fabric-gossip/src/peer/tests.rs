mod contents;
mod leadership;
mod network;
mod whole;
