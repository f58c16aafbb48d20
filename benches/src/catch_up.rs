//! How fast a late fabric peer catches up by state transfer: two peers hold the blocks, one comes late, all of one kind.
//!
//! The clock runs from the start of the late one, or from the first block that it stores, to the last. Between the two each
//! kind looks for a lag at its own pace: Go every 10 s, ours as soon as a height is told. Ours store on disk, Go in memory.

use std::time::Instant;
use switchboard_interop::fabric::{Member, Net, chain, put_blocks};

/// Bytes of a block's transaction.
const BYTES: usize = 2_000;

/// Blocks a second; `go`: all three are on Fabric's own code; `whole`: from the start of the late one.
#[allow(clippy::disallowed_methods)] // real time is what is measured
pub(crate) fn rate(go: bool, count: usize, whole: bool) -> f64 {
    let (net, blocks) = (Net::new(1, 3), chain(count as u64, BYTES));
    let folder = net.folder("blocks");
    put_blocks(&folder, &blocks);
    let from = folder.display().to_string();
    let start = |n: usize, boot: &str, more: &[&str]| match go {
        true => net.go((1, n), boot, &[&["--state"], more].concat()),
        false => {
            let data = net.folder(&format!("data{n}")).display().to_string();
            net.ours((1, n), boot, &[&["--state.enabled", "--data", &data], more].concat())
        }
    };
    let mut members = vec![start(0, "", &["--blocks-from", &from])];
    let boot = members[0].endpoint.clone();
    members.push(start(1, &boot, &["--blocks-from", &from]));
    for member in &mut members {
        while member.program.wait("block")["number"] != count {}
    }
    let mut first = whole.then(Instant::now);
    let mut late = start(2, &boot, &[]);
    for number in 1..=count {
        let told = late.program.wait("block");
        assert_eq!(told["number"], number, "blocks come in order");
        first.get_or_insert_with(Instant::now);
    }
    let seconds = first.map(|first| first.elapsed().as_secs_f64()).unwrap_or_default();
    late.stop();
    members.into_iter().for_each(Member::stop);
    (count - usize::from(!whole)) as f64 / seconds.max(1e-9)
}
