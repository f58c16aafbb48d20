use super::*;
use serde_json::Value;

#[test]
fn the_urls_geth_knows() {
    let v: Value = serde_json::from_str(include_str!("../../tests/vectors/enode_urls.json")).unwrap();
    let cases = v["cases"].as_array().unwrap();
    for case in cases {
        let url = case["url"].as_str().unwrap();
        assert_eq!(Enode::parse(url).is_ok(), case["ok"] == true, "{url}: {:?}", Enode::parse(url));
    }
    assert_eq!(cases.len(), 18);
}

#[test]
fn urls_are_printed_as_they_were_written() {
    let key = "1dd9d65c4552b5eb43d5ad55a2ee3f56c6cbc1c64a5c8d659f51fcd51bace24351232b8d7821617d2b29b54b81cdefb9b3e9c37d7fd5f63270bcc9e1a6f6a439";
    for tail in ["", "@127.0.0.1:52150", "@[::1]:52150", "@node.example:30303?discport=0"] {
        let url = format!("enode://{key}{tail}");
        assert_eq!(Enode::parse(&url).unwrap().to_string(), url);
    }
    let off_curve = "01".repeat(64);
    assert_eq!(Enode::parse(&format!("enode://{off_curve}@1.2.3.4:1")).unwrap_err(), EnodeError::Key);
    for bad in ["", "enode://", "http://x", "enode://@1.2.3.4:1"] {
        assert!(Enode::parse(bad).is_err(), "{bad}");
    }
}
