use super::*;

#[test]
fn sentences_are_encoded_and_come_back() {
    for text in ["", "shutting down", "100% sure", "tab\there", "Grüße"] {
        let map = trailers(7, text);
        assert_eq!(map["grpc-status"], "7");
        let told = map.get("grpc-message").map(|value| value.as_bytes().to_vec());
        assert_eq!(told.is_none(), text.is_empty());
        if text.is_ascii() && !text.contains('\t') {
            assert_eq!(decoded(&told.unwrap_or_default()), text);
        }
    }
    assert_eq!(trailers(2, "a\nb")["grpc-message"], "a%0Ab");
    assert_eq!(trailers(2, "100%")["grpc-message"], "100%25");
    let long = trailers(2, &"\n".repeat(10_000));
    assert_eq!(long["grpc-message"].len(), 3 * MAX_MESSAGE_TEXT);
}

#[test]
fn what_is_received_is_made_printable() {
    assert_eq!(decoded(b"50%"), "50%");
    assert_eq!(decoded(b"%zz%4"), "%zz%4");
    assert!(!decoded(b"%1B[31mred").contains('\u{1b}'));
    assert!(!decoded(b"%FF%FE").is_empty());
}
