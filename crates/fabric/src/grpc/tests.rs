use super::*;

#[test]
fn messages_come_out_as_they_went_in() {
    let mut wire = BytesMut::new();
    for message in [&b""[..], b"x", &[7; 1000]] {
        put_message(message, &mut wire);
    }
    let whole = wire.clone();
    let mut src = BytesMut::new();
    let mut out = Vec::new();
    for byte in whole {
        src.put_u8(byte);
        out.extend(take_message(&mut src, 1000).unwrap());
    }
    assert_eq!(out, [Bytes::new(), Bytes::from_static(b"x"), Bytes::from(vec![7; 1000])]);
}

#[test]
fn a_length_is_judged_before_its_message() {
    let mut src = BytesMut::from(&[0, 0xff, 0xff, 0xff, 0xff][..]);
    assert_eq!(take_message(&mut src, 100), Err(GrpcFault::TooLarge { len: 0xffff_ffff, limit: 100 }));
    let mut src = BytesMut::from(&[0, 0x06, 0, 0, 0][..]);
    assert_eq!(take_message(&mut src, 100 << 20).unwrap(), None);
    assert!(src.capacity() <= 2 << 20, "a stated length alone costs nothing");
    assert_eq!(take_message(&mut BytesMut::from(&[1, 0, 0, 0, 0][..]), 100), Err(GrpcFault::Compressed));
}
