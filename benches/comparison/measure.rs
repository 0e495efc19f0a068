//! What a process took, from its start to its end.

use std::process::{Child, Command, ExitStatus};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::support::seconds;

/// Longer than any copy takes; a process that is stuck fails the comparison.
const DEADLINE: Duration = seconds(600);

/// What a process took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// From its start to its end.
    pub(crate) wall: Duration,
    /// User and system time of all its threads.
    pub(crate) cpu: Duration,
    /// The most memory that it held (`VmHWM`), in bytes.
    pub(crate) peak_memory: u64,
}

/// Runs a command to its end; panics if that is not a good one.
pub(crate) fn measure(command: &mut Command) -> Taken {
    let begin = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut peak_memory = 0;
    // when it has ended, the system keeps its times until it is waited for
    let cpu = loop {
        peak_memory = peak_memory.max(memory(child.id()));
        let (ended, cpu) = state(child.id());
        if ended {
            break cpu;
        }
        if begin.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!("{command:?} is stuck");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let wall = begin.elapsed();
    let status = end(&mut child);
    assert!(status.success(), "{command:?} ended with {status}");
    Taken { wall, cpu, peak_memory }
}

fn end(child: &mut Child) -> ExitStatus {
    child.wait().unwrap()
}

/// The peak in bytes; 0 of a process that has ended.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Whether it has ended, and its user and system time.
fn state(pid: u32) -> (bool, Duration) {
    static TICKS_PER_SECOND: LazyLock<u64> = LazyLock::new(|| {
        let said = Command::new("getconf").arg("CLK_TCK").output().unwrap().stdout;
        String::from_utf8(said).unwrap().trim().parse().unwrap()
    });
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // after the name, which may hold anything: state is field 3, the times are 14 and 15
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    (fields[0] == "Z", Duration::from_millis(ticks * 1000 / *TICKS_PER_SECOND))
}
