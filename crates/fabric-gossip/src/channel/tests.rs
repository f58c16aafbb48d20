use super::*;

/// Row 9.1: SHA-256 over the PKI-ID and the channel's name; a value computed with another program.
#[test]
fn the_mac_is_fabrics() {
    let channel = Channel::parse(b"mychannel").unwrap();
    let mac = channel_mac(&PkiId([0x11; 32]), &channel);
    assert_eq!(hex::encode(mac), MAC);
    assert_ne!(channel_mac(&PkiId([0x12; 32]), &channel), mac);
}

const MAC: &str = "ed1478b3b8e45cca010538287ee42b3f942b58e9e478c07d74835383d9fcc64d";
