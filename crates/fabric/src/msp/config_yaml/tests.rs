use super::*;
use proptest::prelude::*;

/// As cryptogen writes it.
const CRYPTOGEN: &str = "NodeOUs:
  Enable: true
  ClientOUIdentifier:
    Certificate: cacerts/ca.org1.example.com-cert.pem
    OrganizationalUnitIdentifier: client
  PeerOUIdentifier:
    Certificate: cacerts/ca.org1.example.com-cert.pem
    OrganizationalUnitIdentifier: peer
  AdminOUIdentifier:
    Certificate: cacerts/ca.org1.example.com-cert.pem
    OrganizationalUnitIdentifier: admin
  OrdererOUIdentifier:
    Certificate: cacerts/ca.org1.example.com-cert.pem
    OrganizationalUnitIdentifier: orderer
";

#[test]
fn files_of_fabrics_tools_are_read() {
    let config = parse(CRYPTOGEN).unwrap();
    assert!(config.enable);
    let entry = |unit: &str| UnitEntry {
        certificate: Some("cacerts/ca.org1.example.com-cert.pem".to_owned()),
        unit: unit.to_owned(),
    };
    assert_eq!(config.client, Some(entry("client")));
    assert_eq!(config.peer, Some(entry("peer")));
    assert_eq!(config.admin, Some(entry("admin")));
    assert_eq!(config.orderer, Some(entry("orderer")));
    assert_eq!(parse(&CRYPTOGEN.replace('\n', "\r\n")).unwrap(), config);

    let sample = "# a comment\n---\nOrganizationalUnitIdentifiers: # more\n  - Certificate: \"cacerts/a b.pem\"\n    \
        OrganizationalUnitIdentifier: 'x # y'\n  -\n    Certificate: c.pem\n    OrganizationalUnitIdentifier: z\n\n\
        NodeOUs:\n    Enable: false\n    PeerOUIdentifier:\n        OrganizationalUnitIdentifier: peer\n";
    let config = parse(sample).unwrap();
    assert_eq!(config.required.len(), 2);
    assert_eq!(config.required[0].unit, "x # y");
    assert_eq!(config.required[0].certificate.as_deref(), Some("cacerts/a b.pem"));
    assert!(!config.enable && config.client.is_none());
    assert_eq!(config.peer.unwrap().certificate, None);

    // A list at its key's own indentation.
    let flat =
        "OrganizationalUnitIdentifiers:\n- Certificate: c.pem\n  OrganizationalUnitIdentifier: z\nNodeOUs:\n";
    assert_eq!(parse(flat).unwrap().required.len(), 1);
    assert_eq!(parse("").unwrap(), ConfigYaml::default());
    assert_eq!(parse("NodeOUs:\n").unwrap(), ConfigYaml::default());
}

#[test]
fn what_is_not_understood_is_named_by_its_line() {
    for (text, line) in [
        ("NodeOU:\n  Enable: true\n", 1),
        ("NodeOUs:\n  enable: true\n", 2),
        ("NodeOUs:\n  Enable: yes\n", 2),
        ("NodeOUs:\n  Enable: true\n  Enable: true\n", 3),
        ("NodeOUs:\n\tEnable: true\n", 2),
        ("NodeOUs:\n  Enable: true\n    More: x\n", 3),
        ("NodeOUs: {Enable: true}\n", 1),
        ("NodeOUs:\n  PeerOUIdentifier:\n    Certificate: c.pem\n", 2),
        ("NodeOUs:\n  PeerOUIdentifier:\n    OrganizationalUnitIdentifier: \"a\\n\"\n", 3),
        ("NodeOUs:\n  PeerOUIdentifier: &x\n", 2),
        ("OrganizationalUnitIdentifiers: x\n", 1),
        ("OrganizationalUnitIdentifiers:\n  - OrganizationalUnitIdentifier: z\n", 2),
        ("just text\n", 1),
        ("  NodeOUs:\nNodeOUs:\n", 2),
        ("- a\n", 1),
    ] {
        let fault = parse(text).unwrap_err();
        assert_eq!(fault.line, line, "{text:?}: {fault}");
    }
    let deep: String = (0..20).map(|n| format!("{}NodeOUs:\n", " ".repeat(n))).collect();
    assert!(parse(&deep).is_err());
    assert!(parse(&"#\n".repeat(MAX_LINES + 1)).is_err());
}

#[test]
fn every_truncation_is_read_or_refused() {
    for length in 0..CRYPTOGEN.len() {
        let _ = parse(&CRYPTOGEN[..length]);
    }
}

proptest! {
    #[test]
    fn nothing_panics(text in "[ \\-:#\"'a-zNOU\\n\\t\\[é]{0,200}") {
        let _ = parse(&text);
    }
}
