//! Remote text made safe to print: escaped and capped, so that no peer can write to an operator's
//! terminal or fill a log.

/// Longest remote text kept, in characters.
pub const MAX_REMOTE_TEXT: usize = 128;

/// Escapes control and non-printing characters and cuts to [`MAX_REMOTE_TEXT`] characters (then `…` follows).
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == MAX_REMOTE_TEXT {
            out.push('…');
            break;
        }
        if c.is_control() || is_invisible(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Like [`printable`], for bytes that may not be UTF-8.
#[must_use]
pub fn printable_bytes(bytes: &[u8]) -> String {
    let most = bytes.get(..MAX_REMOTE_TEXT * 4 + 1).unwrap_or(bytes);
    printable(&String::from_utf8_lossy(most))
}

/// Direction overrides and zero-width characters, with which text can pretend to be other text.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests;
