//! What a program on Switchboard looks like, by goal.
//!
//! ```sh
//! cargo run -p switchboard-examples --example greet_peers_on_three_wires
//! ```
