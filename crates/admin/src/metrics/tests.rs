//! Names, labels, and the two forms of text.

use super::*;

fn text(names: Names, open: bool) -> String {
    let mut peers = Family::new(Form::Gauge, "switchboard_peers", "Sessions now");
    for wire in ["devp2p", "comet", "fabric"] {
        peers.add(&[("wire", wire), ("direction", "inbound")], 2.0);
        peers.add(&[("wire", wire), ("direction", "outbound")], 1.0);
    }
    let mut bytes = Family::new(Form::Counter, "switchboard_message_bytes", "Bytes");
    for protocol in ["pex", "cast"] {
        let labels = [("wire", "comet"), ("protocol", protocol), ("channel", "34"), ("flow", "in")];
        bytes.add(&labels, 10.0);
    }
    let mut lag = Family::new(Form::Histogram, "switchboard_event_loop_lag_seconds", "Lag");
    lag.points.push((Vec::new(), Sample::Histogram(1.5, vec![(0.1, 3), (1.0, 2), (f64::INFINITY, 1)])));
    let mut commits = Family::new(Form::Histogram, "switchboard_gossip_state_commit_seconds", "Commits");
    let labels = vec![("channel", "mychannel".to_owned())];
    commits.points.push((labels, Sample::Histogram(0.5, vec![(0.1, 4), (f64::INFINITY, 1)])));
    let mut families = vec![peers, bytes, lag, commits];
    if names == Names::Native {
        families.extend(native::all(&families));
    }
    families.retain(|family| !family.points.is_empty());
    text::write(families, open).unwrap()
}

#[test]
fn the_older_text_names_counters_in_full() {
    let (open, plain) = (text(Names::Own, true), text(Names::Own, false));
    assert!(
        open.ends_with("# EOF\n") && open.contains("# TYPE switchboard_message_bytes counter\n"),
        "{open}"
    );
    assert!(!plain.contains("EOF"), "{plain}");
    assert!(plain.contains("# HELP switchboard_message_bytes_total Bytes"), "{plain}");
    assert!(plain.contains("# TYPE switchboard_message_bytes_total counter\n"), "{plain}");
    for text in [open, plain] {
        assert!(text.contains("switchboard_peers{wire=\"comet\",direction=\"inbound\"} 2.0\n"), "{text}");
        assert!(
            text.contains("_bucket{le=\"+Inf\"} 6\n") && text.contains("_bucket{le=\"1.0\"} 5\n"),
            "{text}"
        );
        assert!(text.contains("lag_seconds_sum 1.5\n") && text.contains("lag_seconds_count 6\n"), "{text}");
    }
}

#[test]
fn well_known_names_stand_beside_ours_without_peers() {
    let text = text(Names::Native, false);
    for line in [
        "p2p_peers 3.0",
        "p2p_peers_inbound 2.0",
        "cometbft_p2p_peers 3.0",
        "cometbft_p2p_peer_receive_bytes_total{chID=\"0x22\"} 20.0",
        "gossip_comm_messages_sent 0.0",
        "gossip_state_commit_duration_bucket{le=\"0.1\",channel=\"mychannel\"} 4",
        "gossip_state_commit_duration_count{channel=\"mychannel\"} 5",
        "switchboard_peers{wire=\"devp2p\",direction=\"outbound\"} 1.0",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in {text}");
    }
    assert!(!text.contains("peer_id="), "no label names a peer");
}
