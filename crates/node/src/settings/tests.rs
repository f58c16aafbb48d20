//! Units, files, strength.

use super::*;
use std::io::Write;

const KNOWN: [Setting; 6] = [
    Setting::list("node", "listen", Form::Text, ""),
    Setting::one("node", "stdin-stop", Form::Switch, ""),
    Setting::one("limits", "max-peers", Form::Number, ""),
    Setting::one("limits", "send-rate", Form::Bytes, ""),
    Setting::one("limits", "pending-within", Form::Duration, ""),
    Setting::one("comet", "network", Form::Text, ""),
];

fn file(text: &str) -> Result<Values, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    Values::from_file(file.path(), &KNOWN).map_err(|error| {
        let text = error.to_string();
        text.split_once(", line ").map_or(text.clone(), |(_, rest)| rest.to_owned())
    })
}

#[test]
fn bytes_and_durations_have_units() {
    for (text, bytes) in
        [("0", 0), ("65536", 65_536), ("64KiB", 65_536), ("5MB", 5_000_000), ("1.5 GB", 1_500_000_000)]
    {
        assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
    }
    for text in ["", "MB", "-1", "5 parsecs", "1e3", "99999999999TB", "inf", "nan"] {
        assert!(parse_bytes(text).is_err(), "{text}");
    }
    for (text, millis) in [
        ("30", 30_000),
        ("500ms", 500),
        ("30s", 30_000),
        ("1h30m", 5_400_000),
        ("0.5s", 500),
        ("1d", 86_400_000),
    ] {
        assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
    }
    for text in ["", "s", "5 5", "1h30", "99999999999999999999d", "-1s", "1y"] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

#[test]
fn sections_keys_and_forms_are_read() {
    let values = file(
        "listen = [\"a\", \"b\"]\n[limits]\nmax-peers = 3\nsend-rate = \"5MB\"\npending-within = 2.5\n\
         [comet]\nnetwork = \"net\"\n",
    )
    .unwrap();
    assert_eq!(values.texts("listen"), ["a", "b"]);
    assert_eq!(values.number("max-peers").unwrap(), Some(3));
    assert_eq!(values.bytes("send-rate").unwrap(), Some(5_000_000));
    assert_eq!(values.duration("pending-within").unwrap(), Some(Duration::from_millis(2_500)));
    assert_eq!(values.text("network"), Some("net"));
    assert!(!values.switch("stdin-stop").unwrap());
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_the_nearest_name() {
    for (text, said) in [
        ("\nlissen = []", "2: unknown field `lissen`, did you mean `listen`?: correct that line"),
        ("[limit]\n", "1: unknown section `limit`, did you mean `limits`?: correct that line"),
        ("zzzzzzzz = 1", "1: unknown field `zzzzzzzz`: correct that line"),
        (
            "[comet]\nmax-peers = 3",
            "2: `max-peers` stands in [comet], its section is [limits]: correct that line",
        ),
        ("listen = \"a\"", "1: `listen` is a list: write listen = [\"…\"]: correct that line"),
        ("max-peers = -1", "1: `max-peers` is a whole number: correct that line"),
        ("[limits]\nmax-peers = [3]", "2: `max-peers` has one value, not a list: correct that line"),
        ("stdin-stop = 1", "1: `stdin-stop` is true or false: correct that line"),
    ] {
        assert_eq!(file(text).unwrap_err(), said, "{text}");
    }
    let values = file("[limits]\nsend-rate = \"fast\"").unwrap();
    let said = values.bytes("send-rate").unwrap_err().to_string();
    assert!(said.contains("line 2: send-rate: \"fast\" is not a number of bytes"), "{said}");
}

#[test]
fn the_stronger_value_counts_whole() {
    let (mut flags, mut rest) = (Values::default(), Values::default());
    flags.set("listen", vec!["flag".into()], Source::Flag);
    rest.set("listen", vec!["a".into(), "b".into()], Source::Variable("V".into()));
    rest.set("network", vec!["net".into()], Source::Variable("V".into()));
    let both = flags.over(rest);
    assert_eq!((both.texts("listen"), both.text("network")), (&["flag".to_owned()][..], Some("net")));
}

#[test]
fn the_same_in_other_words_is_the_same() {
    let values = |name: &str, texts: &[&str]| {
        let mut values = Values::default();
        values.set(name, texts.iter().map(|text| (*text).to_owned()).collect(), Source::Flag);
        values
    };
    let nothing = Values::default();
    let rate = Setting::one("limits", "rate", Form::Bytes, "Bytes (default: 64 KiB)");
    assert!(rate.is_same(&values("rate", &["5MB"]), &values("rate", &["5000000"])));
    assert!(rate.is_same(&nothing, &values("rate", &["65536"])), "a default that is given");
    assert!(!rate.is_same(&nothing, &values("rate", &["65537"])));
    let quiet = Setting::one("node", "quiet", Form::Switch, "");
    assert!(quiet.is_same(&nothing, &values("quiet", &["no"])));
    assert!(!quiet.is_same(&values("quiet", &["on"]), &values("quiet", &["0"])));
    let wait = Setting::one("node", "wait", Form::Duration, "");
    assert!(wait.is_same(&values("wait", &["90s"]), &values("wait", &["1m30s"])));
    assert!(!wait.is_same(&nothing, &values("wait", &["1s"])));
    let wires = Setting::list("node", "wire", Form::Text, "Wires (default: all)");
    assert!(wires.is_same(&values("wire", &["a", "b"]), &values("wire", &["b", "a"])));
    assert!(!wires.is_same(&values("wire", &["a"]), &values("wire", &["a", "b"])));
}
