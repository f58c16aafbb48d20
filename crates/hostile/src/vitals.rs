//! What a process takes, read from `/proc`: resident memory, CPU time, descriptors.
//!
//! Sampled every [`EVERY`], so a peak between two samples is missed. CPU time is in ticks of a hundredth of a second, as on
//! every Linux that is built for servers.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often a process is looked at.
const EVERY: Duration = Duration::from_millis(50);
const TICKS: f64 = 100.0;

/// One look at a process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Look {
    /// Resident bytes.
    pub(crate) rss: u64,
    /// Seconds of CPU time since its start.
    pub(crate) cpu: f64,
    /// Open descriptors.
    pub(crate) files: usize,
}

impl Look {
    /// Looks; `None` when the process is gone.
    pub(crate) fn at(pid: u32) -> Option<Self> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        let rss = resident(&read("status")?)?;
        let cpu = cpu(&read("stat")?)?;
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        Some(Self { rss, cpu, files })
    }
}

/// `VmRSS` of a status file, in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// User and system time of a stat file. The name, in parentheses, may hold anything.
fn cpu(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) as f64 / TICKS)
}

#[derive(Debug, Default)]
struct Seen {
    first: Look,
    last: Look,
    rss_peak: u64,
    files_peak: usize,
}

/// Looks at a process until dropped.
pub(crate) struct Watch {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// What was seen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Vitals {
    /// Resident bytes when the watch began.
    pub(crate) rss_before: u64,
    /// Most resident bytes.
    pub(crate) rss_peak: u64,
    /// CPU seconds while watched.
    pub(crate) cpu: f64,
    /// Most descriptors.
    pub(crate) files_peak: usize,
}

impl Vitals {
    /// How far memory grew.
    pub(crate) fn growth(&self) -> u64 {
        self.rss_peak.saturating_sub(self.rss_before)
    }
}

impl Watch {
    pub(crate) fn start(pid: u32) -> Self {
        let first = Look::at(pid).unwrap_or_default();
        let seen = Seen { first, last: first, rss_peak: first.rss, files_peak: first.files };
        let seen = Arc::new(Mutex::new(seen));
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            loop {
                ticks.tick().await;
                let Some(look) = Look::at(pid) else { return };
                let mut seen = shared.lock();
                seen.last = look;
                seen.rss_peak = seen.rss_peak.max(look.rss);
                seen.files_peak = seen.files_peak.max(look.files);
            }
        });
        Self { seen, task }
    }

    pub(crate) fn vitals(&self) -> Vitals {
        let seen = self.seen.lock();
        Vitals {
            rss_before: seen.first.rss,
            rss_peak: seen.rss_peak,
            cpu: seen.last.cpu - seen.first.cpu,
            files_peak: seen.files_peak,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\nThreads: 1\n"), Some(2 << 20));
        assert_eq!(resident("Name:\tx\n"), None);
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1";
        assert_eq!(cpu(stat), Some(3.0));
        assert_eq!(cpu("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_is_seen() {
        let look = Look::at(std::process::id()).unwrap();
        assert!(look.rss > 1 << 20 && look.files > 2, "{look:?}");
        assert!(Look::at(u32::MAX).is_none());
    }
}
