#![allow(clippy::indexing_slicing)]

use super::*;
use tokio::net::{TcpListener, UdpSocket};

const NAME: &str = "nodes.example.org";

/// A record: owner, type, data.
type Owned<'a> = (Option<&'a [u8]>, u16, Vec<u8>);

/// An answer to a question, with records as (owner, type, data) whose owner `None` points at the question's name.
fn answer(question: &[u8], flags: u16, records: &[Owned<'_>]) -> Vec<u8> {
    let end = 12 + question[12..].iter().position(|b| *b == 0).unwrap() + 5;
    let mut out = question[..2].to_vec();
    out.extend(flags.to_be_bytes());
    out.extend([0, 1]);
    out.extend(u16::try_from(records.len()).unwrap().to_be_bytes());
    out.extend([0; 4]);
    out.extend(&question[12..end]);
    for (owner, kind, data) in records {
        out.extend(owner.unwrap_or(&[0xc0, 12]));
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 9]);
        out.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        out.extend(data);
    }
    out
}

fn text(strings: &[&str]) -> Vec<u8> {
    strings.iter().flat_map(|s| [&[u8::try_from(s.len()).unwrap()], s.as_bytes()].concat()).collect()
}

#[test]
fn texts_are_joined_aliases_followed_and_others_records_passed_over() {
    let question = Question::txt(7, "Nodes.Example.Org.").unwrap();
    let asked = question.encode();
    let whole = answer(
        &asked,
        0x8180,
        &[
            (None, 5, b"\x01a\x02bc\x00".to_vec()),
            (Some(b"\x01A\x02BC\x00"), 16, text(&["enrtree-", "root"])),
            (Some(b"\x01b\x00"), 16, text(&["not asked for"])),
            (Some(b"\x01a\x02bc\x00"), 16, vec![1, 0xff]),
            (Some(b"\x01a\x02bc\x00"), 1, vec![1, 2, 3, 4]),
        ],
    );
    assert_eq!(question.decode(&whole), Ok(Answer::Texts(vec!["enrtree-root".to_owned()])));
    // Cut anywhere it is no answer.
    for end in 0..whole.len() {
        assert!(question.decode(&whole[..end]).is_err(), "cut at {end}");
    }
    // Nor is it one to another question.
    for other in [Question::txt(8, NAME).unwrap(), Question::txt(7, "nodes.example.com").unwrap()] {
        assert_eq!(other.decode(&whole), Err(AnswerError::Other));
    }
    assert_eq!(question.decode(&answer(&asked, 0x8183, &[])), Ok(Answer::NoSuchName));
    assert_eq!(question.decode(&answer(&asked, 0x8185, &[])), Ok(Answer::Refused(5)));
    assert_eq!(question.decode(&answer(&asked, 0x8380, &[])), Ok(Answer::CutShort));
    assert_eq!(question.decode(&answer(&asked, 0x0180, &[])), Err(AnswerError::Other), "a question");
}

#[test]
fn names_end_and_records_and_texts_are_counted() {
    let question = Question::txt(7, NAME).unwrap();
    let asked = question.encode();
    // A name that points at itself, forward, and back and forth.
    for (owner, data) in
        [(&[0xc0, 35][..], vec![]), (&[0xc1, 0][..], vec![]), (&[1, b'a', 0xc0, 35][..], vec![])]
    {
        let bad = answer(&asked, 0x8180, &[(Some(owner), 16, data)]);
        assert!(question.decode(&bad).is_err(), "{owner:?}");
    }
    // Aliases in a ring end.
    let ring = [
        (None, 5, b"\x01a\x00".to_vec()),
        (Some(&b"\x01a\x00"[..]), 5, b"\x01b\x00".to_vec()),
        (Some(&b"\x01b\x00"[..]), 5, b"\x01a\x00".to_vec()),
    ];
    assert_eq!(question.decode(&answer(&asked, 0x8180, &ring)), Ok(Answer::Texts(Vec::new())));
    let many: Vec<_> = (0..64).map(|_| (None, 16, text(&["x"]))).collect();
    let Ok(Answer::Texts(texts)) = question.decode(&answer(&asked, 0x8180, &many)) else { panic!() };
    assert_eq!(texts.len(), crate::net::MAX_TXT);
    let more: Vec<_> = (0..65).map(|_| (None, 16, text(&["x"]))).collect();
    assert_eq!(question.decode(&answer(&asked, 0x8180, &more)), Err(AnswerError::TooMany));
    // A string longer than its record.
    let long = [(None, 16, vec![9, b'x'])];
    assert_eq!(question.decode(&answer(&asked, 0x8180, &long)), Err(AnswerError::Short));
}

#[test]
fn what_is_no_name_is_not_asked_for() {
    let label = "a".repeat(64);
    let long = format!("{}.org", vec!["a".repeat(62); 4].join("."));
    for bad in ["", ".", "a..b", ".a", "a b", "a\u{e9}", &label, &long] {
        assert_eq!(Question::txt(1, bad), None, "{bad}");
    }
    assert!(Question::txt(1, &"a".repeat(63)).is_some());
}

#[test]
fn the_systems_file_is_read() {
    let conf = "# comment\nsearch example.org\nnameserver 192.0.2.1\nnameserver  2001:db8::1\nnameserver x\n\
        options timeout:1\nnameserver 192.0.2.3\nnameserver 192.0.2.4";
    let servers = NameServers::of_conf(conf);
    let expected = ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.3:53"].map(|at| at.parse().unwrap());
    assert_eq!(servers, NameServers::new(expected));
    assert_eq!(NameServers::of_conf(""), NameServers::new(["127.0.0.1:53".parse().unwrap()]));
}

/// A server that refuses, one that is silent and one that lies before it cuts its answer short: the texts come by TCP.
/// In real time: a clock that runs ahead while a datagram is on its way would give servers up.
#[tokio::test]
async fn servers_are_asked_in_turn_and_a_cut_answer_over_tcp() {
    let refuses = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (tcp, udp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            break (tcp, udp);
        }
    };
    let servers = NameServers::new([&refuses, &silent, &udp].map(|socket| socket.local_addr().unwrap()));
    let serve = async {
        let mut buffer = [0; 2_048];
        let (len, from) = refuses.recv_from(&mut buffer).await.unwrap();
        refuses.send_to(&answer(&buffer[..len], 0x8185, &[]), from).await.unwrap();
        let (len, from) = udp.recv_from(&mut buffer).await.unwrap();
        let forged = answer(&buffer[..len], 0x8180, &[(None, 16, text(&["forged"]))]);
        // From elsewhere, and with another number.
        silent.send_to(&forged, from).await.unwrap();
        let mut wrong = forged.clone();
        wrong[0] ^= 1;
        udp.send_to(&wrong, from).await.unwrap();
        udp.send_to(&answer(&buffer[..len], 0x8380, &[]), from).await.unwrap();
        let (mut stream, _) = tcp.accept().await.unwrap();
        let len = usize::from(stream.read_u16().await.unwrap());
        stream.read_exact(&mut buffer[..len]).await.unwrap();
        let whole = answer(&buffer[..len], 0x8180, &[(None, 16, text(&["true"]))]);
        stream.write_u16(u16::try_from(whole.len()).unwrap()).await.unwrap();
        stream.write_all(&whole).await.unwrap();
    };
    let net = super::super::TcpNetwork;
    let (texts, ()) = tokio::join!(servers.txt(&net, NAME, || 3), serve);
    assert_eq!(texts.unwrap(), ["true"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_who_answers_is_an_error_in_bounded_time() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let servers = NameServers::new([silent.local_addr().unwrap(); 9]);
    let start = tokio::time::Instant::now();
    let error = servers.txt(&super::super::TcpNetwork, NAME, || 3).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() <= TRY * 6 + Duration::from_millis(100), "{:?}", start.elapsed());
}
