mod contents;
mod network;
