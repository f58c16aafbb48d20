//! Answers of name servers.
#![no_main]

use switchboard::net::MAX_TXT;
use switchboard::net::names::{Answer, Question};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some(question) = Question::txt(0x1234, "a.example.org") else { return };
    // With the right beginning, so that what follows is reached as well.
    let encoded = question.encode();
    let mut whole = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, bytes.first().copied().unwrap_or(0), 0, 0, 0, 0];
    whole.extend(encoded.get(12..encoded.len().saturating_sub(11)).unwrap_or_default());
    whole.extend(bytes.get(1..).unwrap_or_default());
    for message in [bytes, &whole] {
        if let Ok(Answer::Texts(texts)) = question.decode(message) {
            assert!(texts.len() <= MAX_TXT);
            assert!(texts.iter().map(String::len).sum::<usize>() <= message.len());
        }
    }
});
