//! Processes on a tether: when the test process is gone, however it went, they are gone too.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::within;

/// Starts the program, says its process id, and kills it when standard input ends.
const TETHER: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- 4>&- &
pid=$!
echo $pid >&4
(cat <&3 >/dev/null; kill -9 $pid; [ -z "$CLEAN" ] || { sleep 1; rm -rf "$CLEAN"; }) 4>&- >/dev/null 2>&1 &
killer=$!
exec 3<&- 4>&-
wait $pid
code=$?
[ -n "$CLEAN" ] || kill $killer 2>/dev/null
exit $code
"#;

/// A child process that does not outlive this one.
pub struct Tethered {
    shell: Child,
    tether: Option<ChildStdin>,
    pid: u32,
    peak_memory: u64,
}

impl Tethered {
    /// Starts a program with its output in two files.
    pub fn spawn(command: &Command, stdout: &Path, stderr: &Path) -> Self {
        Self::spawn_cleaning(command, stdout, stderr, None)
    }

    /// As `spawn`; `folder` is removed when this process is gone.
    pub fn spawn_cleaning(command: &Command, stdout: &Path, stderr: &Path, folder: Option<&Path>) -> Self {
        let (pid_reader, pid_writer) = std::io::pipe().unwrap();
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{{ {TETHER} }} 4>&2 2>'{}'", stderr.display())).arg("sh");
        shell.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.env("CLEAN", folder.unwrap_or_else(|| Path::new("")));
        shell.stdin(Stdio::piped()).stdout(File::create(stdout).unwrap()).stderr(pid_writer);
        // Its own group, so that Ctrl-C on the tests does not kill the shell before it has done its duty.
        let mut shell = shell.process_group(0).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(pid_reader).read_line(&mut line).unwrap();
        let pid = line.trim().parse().unwrap_or_else(|_| panic!("no process id from the shell: {line:?}"));
        Self { tether: shell.stdin.take(), shell, pid, peak_memory: 0 }
    }

    /// The program's process id.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal by its name: `TERM`, `KILL`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.pid)).status().unwrap();
        assert!(status.success(), "kill -{name} {} failed: the process is gone", self.pid);
    }

    /// How it ended, if it has: the exit code, or 128 and the signal.
    pub fn ended(&mut self) -> Option<i32> {
        self.sample_memory();
        self.shell.try_wait().unwrap().map(code)
    }

    /// Waits for its end; `None` if it still runs at the deadline.
    pub fn wait(&mut self, deadline: Duration) -> Option<i32> {
        within(deadline, || self.ended())
    }

    /// The most memory it was seen to hold, in bytes.
    pub fn peak_memory(&mut self) -> u64 {
        self.sample_memory();
        self.peak_memory
    }

    fn sample_memory(&mut self) {
        self.peak_memory = self.peak_memory.max(memory(self.pid, "VmHWM:"));
    }
}

impl Drop for Tethered {
    fn drop(&mut self) {
        self.tether.take();
        self.shell.wait().ok();
    }
}

/// The memory that a process occupies now, in bytes; 0 when it is gone.
pub fn resident_memory(pid: u32) -> u64 {
    memory(pid, "VmRSS:")
}

/// The time that its threads have had, their own and the system's on their behalf; to a hundredth of a second.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // after the name, which may hold anything, the times are 11th and 12th; Linux counts them in hundredths for everybody
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
    Duration::from_millis(fields.map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum())
}

fn memory(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("0 kB");
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
    kilobytes * 1024
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}
