//! Node discovery, version 4.

pub mod packet;
