//! What processes took, from their start to their end.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::support::{run_folder, seconds};
use super::unique;

/// Longer than any copy takes; a process that is stuck fails the comparison.
const DEADLINE: Duration = seconds(600);

/// Has bash tell the times of a command and of all that it started, to a millisecond: `/proc` has hundredths of a second,
/// rounded down, of which some are much of a quick copy.
const TIMED: &str = r#"exec 3>&2 2>"$1"; shift; TIMEFORMAT="%3U %3S"; time "$@" 2>&3 3>&-"#;

/// What processes took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// From the start of the first to the end of the last.
    pub(crate) wall: Duration,
    /// User and system time of all their threads.
    pub(crate) cpu: Duration,
    /// The most memory that each held (`VmHWM`), summed up, in bytes.
    pub(crate) peak_memory: u64,
}

/// A command whose times are taken; its arguments, environment and pipes are to be added.
#[derive(Debug)]
pub(crate) struct Timed {
    /// The command.
    pub(crate) command: Command,
    times: PathBuf,
}

impl Timed {
    /// Of a program.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let times = run_folder().join(format!("times-{}", unique()));
        let mut command = Command::new("bash");
        command.args(["-c", TIMED, "bash"]).arg(&times).arg(program);
        Self { command, times }
    }

    fn start(mut self) -> Running {
        let child = self.command.spawn().unwrap();
        // with the command, this process's ends of its pipes are gone
        Running { child, what: format!("{:?}", self.command), times: self.times, peak_memory: 0, ended: None }
    }
}

/// Runs commands beside each other to their ends, with what they say in a log; panics if those are not good ones.
pub(crate) fn measure(who: &str, commands: Vec<Timed>, log: &Path) -> Taken {
    // nobody pays for what the one before has left to be written to the disk
    sync();
    let file = File::create(log).unwrap();
    let begin = Instant::now();
    let start = |mut timed: Timed| {
        timed.command.stderr(file.try_clone().unwrap());
        timed.start()
    };
    let mut running: Vec<Running> = commands.into_iter().map(start).collect();
    let outcome = await_all(&mut running, begin);
    let wall = begin.elapsed();
    if let Err(problem) = outcome {
        running.iter_mut().for_each(Running::kill);
        panic!("{problem}; the log:\n{}", std::fs::read_to_string(log).unwrap());
    }
    let cpu = running.iter().map(Running::cpu).sum();
    let taken = Taken { wall, cpu, peak_memory: running.iter().map(|process| process.peak_memory).sum() };
    taken.tell(who);
    taken
}

/// Writes what is to be written to the disk.
pub(crate) fn sync() {
    assert!(Command::new("sync").status().unwrap().success());
}

impl Taken {
    /// Tells those who wait how it goes.
    pub(crate) fn tell(&self, who: &str) {
        eprintln!("{who}: {:.2?} wall, {:.2?} CPU, {} MiB", self.wall, self.cpu, self.peak_memory >> 20);
    }
}

fn await_all(running: &mut [Running], begin: Instant) -> Result<(), String> {
    loop {
        for process in running.iter_mut() {
            process.look();
            if let Some(status) = process.ended.filter(|status| !status.success()) {
                return Err(format!("{} ended with {status}", process.what));
            }
        }
        if running.iter().all(|process| process.ended.is_some()) {
            return Ok(());
        }
        if begin.elapsed() > DEADLINE {
            return Err(format!("stuck: {}", running.iter().map(|process| process.what.as_str()).collect::<String>()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The bash that waits for a command.
struct Running {
    child: Child,
    what: String,
    times: PathBuf,
    peak_memory: u64,
    ended: Option<ExitStatus>,
}

impl Running {
    fn look(&mut self) {
        if let Some(pid) = self.pid() {
            self.peak_memory = self.peak_memory.max(memory(&pid));
        }
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
    }

    /// The command's process id; none when it has ended.
    fn pid(&self) -> Option<String> {
        let bash = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{bash}/task/{bash}/children")).unwrap_or_default();
        children.split_whitespace().next().map(str::to_owned)
    }

    fn cpu(&self) -> Duration {
        let told = std::fs::read_to_string(&self.times).unwrap();
        let seconds = |time: &str| -> f64 {
            time.parse().unwrap_or_else(|error| panic!("these are no times: {told:?}: {error}"))
        };
        Duration::from_secs_f64(told.split_whitespace().map(seconds).sum())
    }

    fn kill(&mut self) {
        if let Some(pid) = self.pid() {
            Command::new("kill").args(["-KILL", &pid]).stderr(Stdio::null()).status().ok();
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The peak in bytes; 0 of a process that has ended.
fn memory(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
