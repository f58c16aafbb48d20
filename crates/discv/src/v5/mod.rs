//! Node discovery, version 5.
