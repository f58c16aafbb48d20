//! What may be printed.

use super::*;

#[test]
fn plain_text_stays_and_what_acts_on_a_terminal_is_escaped() {
    assert_eq!(printable("Geth/v1.16 – naïve 節"), "Geth/v1.16 – naïve 節");
    assert_eq!(printable("\u{1b}[2Ja\r\n\u{7f}\u{9b}"), "\\u{1b}[2Ja\\u{d}\\u{a}\\u{7f}\\u{9b}");
    assert_eq!(printable("a\u{202e}b\u{200b}c\u{feff}"), "a\\u{202e}b\\u{200b}c\\u{feff}");
}

#[test]
fn long_text_is_cut() {
    let most = "x".repeat(MAX_REMOTE_TEXT);
    assert_eq!(printable(&most), most);
    assert_eq!(printable(&(most.clone() + "y")), most + "…");
    // Each character may become ten.
    assert!(printable(&"\u{e0001}".repeat(1 << 20)).len() <= MAX_REMOTE_TEXT * 11);
}

#[test]
fn bytes_that_are_no_text_are_shown_as_such() {
    assert_eq!(printable_bytes(b"ok\xff\x00"), "ok\u{fffd}\\u{0}");
    let long = printable_bytes(&[b'z'; 100_000]);
    assert_eq!(long.chars().count(), MAX_REMOTE_TEXT + 1);
    assert!(long.ends_with('…'));
}
