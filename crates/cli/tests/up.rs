//! `up`: a network on each wire, and proof that every node has the file.
#![cfg(test)]

mod common;
use common::{Program, failed, must, noise, run_with, text, until};
use serde_json::Value;

#[test]
fn every_node_gets_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, noise(500_000)).unwrap();
    let ended = must(&["up", "--json", "--nodes", "4", "--cast", text(&file)]);
    let network = ended.event("network");
    assert_eq!((&network["bytes"], &network["nodes"]), (&500_000.into(), &4.into()));
    let wires = network["wires"].as_array().unwrap();
    assert_eq!(wires, &["devp2p", "comet", "fabric"], "{network:#}");
    for wire in wires {
        let of = |event: &str| -> Vec<_> {
            ended.json().into_iter().filter(|v| v["event"] == event && v["wire"] == *wire).collect()
        };
        let (verified, result) = (of("verified"), of("result"));
        assert_eq!(verified.len(), 3, "{ended:#?}");
        assert!(verified.iter().all(|v| v["sha256"] == network["sha256"] && v["ok"] == true));
        assert_eq!((result.len(), &result[0]["ok"]), (1, &true.into()));
        // The far node is two hops away, or three if the longer way was faster.
        assert!(matches!(result[0]["hops"].as_u64(), Some(2 | 3)), "{result:#?}");
    }
    // People get a table, a line a wire.
    let text = must(&["up", "--nodes", "2", "--wire", "comet", "--cast", text(&file)]).stdout;
    let table: Vec<_> = text.lines().skip_while(|l| !l.starts_with("wire ")).collect();
    assert_eq!(table.len(), 2, "{text}");
    assert!(table[1].starts_with("comet") && table[1].ends_with("every node has the exact bytes"), "{text}");
}

#[test]
fn too_few_files_for_so_many_nodes() {
    let up = format!("ulimit -n 48; exec {} up --nodes 40", env!("CARGO_BIN_EXE_switchboard"));
    let ended = std::process::Command::new("sh").args(["-c", &up]).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!((ended.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("use fewer --nodes"), "{said}");
}

#[test]
fn an_empty_file_is_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("empty");
    std::fs::write(&file, "").unwrap();
    must(&["up", "--wire", "comet", "--nodes", "3", "--cast", text(&file)]);
}

/// No figures are made up for those who did not get it; two networks at once do not meet; nothing stays.
#[test]
fn what_is_late_is_told_and_nothing_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (file, scratch) = (dir.path().join("file"), dir.path().join("scratch"));
    std::fs::create_dir(&scratch).unwrap();
    std::fs::File::create(&file).unwrap().set_len(1 << 30).unwrap();
    let vars = [("TMPDIR", text(&scratch))];
    let args = ["up", "--json", "--wire", "devp2p", "--nodes", "3", "--timeout", "1", "--cast", text(&file)];
    let mut other = Program::start(&args, &vars);
    let late = run_with(&args, &vars);
    failed(&late, &args, 1, "time was up, raise --timeout");
    let result = late.event("result");
    assert_eq!(
        (&result["ok"], &result["seconds"], &result["mb_per_s"]),
        (&false.into(), &Value::Null, &Value::Null)
    );
    let of_a_node = late.json().into_iter().filter(|v| v["event"] == "progress" && v["node"] == 1).count();
    assert!(of_a_node <= 101, "{of_a_node} lines of progress");
    assert_eq!(other.exit(), 1);
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0);
}

/// Whether a process has a handler for SIGINT.
fn listens_for_interrupts(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & 1 << 1 != 0
}

#[test]
fn an_interrupt_ends_it_at_any_time() {
    let dir = tempfile::tempdir().unwrap();
    let (file, scratch) = (dir.path().join("file"), dir.path().join("scratch"));
    std::fs::create_dir(&scratch).unwrap();
    std::fs::File::create(&file).unwrap().set_len(1 << 30).unwrap();
    let args = ["up", "--json", "--wire", "comet", "--nodes", "2", "--cast", text(&file)];
    for (signal, event) in [("INT", None), ("TERM", Some("network")), ("INT", Some("progress"))] {
        let mut up = Program::start(&args, &[("TMPDIR", text(&scratch))]);
        match event {
            Some(event) => drop(up.wait(event)),
            // It reads the file, and listens for signals.
            None => until("it listens for SIGINT", || listens_for_interrupts(up.id())),
        }
        up.signal(signal);
        assert_eq!(up.exit(), 1);
        assert_eq!(up.log(), "switchboard: interrupted\n");
        assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0);
    }
}

#[test]
fn a_kept_network_ends_with_an_interrupt() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, noise(10_000)).unwrap();
    let mut up = Program::start(&["up", "--json", "--keep", "--wire", "comet", "--cast", text(&file)], &[]);
    up.wait("keeping");
    up.signal("INT");
    assert_eq!(up.exit(), 0);
}
