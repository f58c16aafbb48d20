//! The process, by the names that client libraries of Prometheus give these figures. Read from /proc: where that is
//! missing, they are.

use super::{Family, Form};
use std::fs::read_to_string;

/// Ticks of the clock that /proc counts in (`getconf CLK_TCK` is 100 on Linux, whatever the kernel's own).
const TICKS: f64 = 100.0;
/// Bytes of a page.
const PAGE: f64 = 4_096.0;

/// Memory, CPU time and open files.
pub(super) fn all() -> Vec<Family> {
    let mut families = Vec::new();
    let stat = read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may hold spaces.
    let rest: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |index: usize| rest.get(index).and_then(|text| text.parse::<f64>().ok());
    if let (Some(user), Some(system)) = (field(11), field(12)) {
        let help = "Total user and system CPU time spent in seconds";
        families.push(Family::one(Form::Counter, "process_cpu_seconds", help, (user + system) / TICKS));
    }
    if let Some(bytes) = field(20) {
        let help = "Virtual memory size in bytes";
        families.push(Family::one(Form::Gauge, "process_virtual_memory_bytes", help, bytes));
    }
    if let Some(pages) = field(21) {
        let help = "Resident memory size in bytes";
        families.push(Family::one(Form::Gauge, "process_resident_memory_bytes", help, pages * PAGE));
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        let help = "Number of open file descriptors";
        families.push(Family::one(Form::Gauge, "process_open_fds", help, files.count() as f64));
    }
    let limits = read_to_string("/proc/self/limits").unwrap_or_default();
    let most = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    if let Some(most) = most.and_then(|rest| rest.split_whitespace().next()?.parse().ok()) {
        let help = "Maximum number of open file descriptors";
        families.push(Family::one(Form::Gauge, "process_max_fds", help, most));
    }
    families
}
