//! What a program on Switchboard looks like, by goal.
//!
//!     cargo run -p switchboard-examples --example greet_peers_on_two_wires
