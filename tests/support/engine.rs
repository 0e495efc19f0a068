//! The engine under test: a process that is given a config and signals, and judged by its exit code, its log and its memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::config::Config;
use super::log::Log;
use super::meter::Meter;
use super::process::{Tethered, cpu_time, resident_memory};
use super::{run_folder, seconds, throughout, within};

/// What the process may hold besides the in-flight bytes.
pub const MEMORY_BESIDES: u64 = 128 << 20;

/// A running engine.
pub struct Engine {
    process: Tethered,
    folder: TempDir,
}

/// What is left of a process that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit code, or 128 and the signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// As the system saw it, in bytes.
    peak_memory: u64,
    folder: TempDir,
}

impl Engine {
    /// `anabranch run`, with the log in JSON.
    pub fn run(config: &Config) -> Self {
        Self::run_with(config, &[])
    }

    /// The same, with variables in its environment.
    pub fn run_with(config: &Config, variables: &[(&str, &str)]) -> Self {
        Self::with_config(config, &["--log-format", "json", "run"], &[], variables)
    }

    /// `anabranch run` again, with the config and all that another one has left in its folder.
    pub fn run_again(former: Finished) -> Self {
        let file = former.folder.path().join("anabranch.yaml");
        let arguments = ["--log-format", "json", "run", "--config", file.to_str().unwrap()];
        Self::spawn(former.folder, &arguments, &[])
    }

    /// `anabranch plan --output json` beside it, with its own config.
    pub fn plan_beside(&self) -> Value {
        let file = self.folder.path().join("anabranch.yaml");
        let plan = Self::start(&["plan", "--config", file.to_str().unwrap(), "--output", "json"], &[]);
        serde_json::from_str(&plan.wait(seconds(30)).assert_code(0).stdout).unwrap()
    }

    /// `anabranch run --until-caught-up`, to its end.
    pub fn run_until_caught_up(config: &Config) -> Finished {
        Self::with_config(config, &["--log-format", "json", "run"], &["--until-caught-up"], &[]).wait(seconds(120))
    }

    /// `anabranch plan`, to its end.
    pub fn plan(config: &Config) -> Finished {
        Self::plan_within(config, seconds(30))
    }

    /// The same, with a time to keep to.
    pub fn plan_within(config: &Config, deadline: Duration) -> Finished {
        Self::with_config(config, &["plan"], &[], &[]).wait(deadline)
    }

    /// The same, in another form.
    pub fn plan_as(config: &Config, output: &str) -> Finished {
        Self::with_config(config, &["plan"], &["--output", output], &[]).wait(seconds(30))
    }

    /// `anabranch verify` of a route, to its end.
    pub fn verify(config: &Config, route: &str, options: &[&str]) -> Finished {
        Self::with_config(config, &["verify"], &[&["--route", route], options].concat(), &[]).wait(seconds(120))
    }

    /// Any command, with variables in its environment.
    pub fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::spawn(engine_folder(), arguments, variables)
    }

    fn with_config(config: &Config, command: &[&str], options: &[&str], variables: &[(&str, &str)]) -> Self {
        let folder = engine_folder();
        let file = folder.path().join("anabranch.yaml");
        config.write(&file);
        let arguments = [command, &["--config", file.to_str().unwrap()], options].concat();
        Self::spawn(folder, &arguments, variables)
    }

    fn spawn(folder: TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anabranch"));
        // what a panic looks up in the debug information for its backtrace is no memory of the engine's
        let foreign =
            ["RUST_LOG", "RUST_BACKTRACE", "ANABRANCH_ADMIN", "ANABRANCH_TOKEN", "kafka_address", "kafka_topic_name"];
        command.args(arguments);
        for name in foreign {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied());
        let process = Tethered::spawn(&command, &stdout(folder.path()), &stderr(folder.path()));
        Self { process, folder }
    }

    /// Writes another config in the place of its own; it does not read it by that alone.
    #[allow(dead_code, reason = "each of the tests that share this uses a part of it")]
    pub fn rewrite(&self, text: &str) {
        let (file, fresh) = (self.folder.path().join("anabranch.yaml"), self.folder.path().join("fresh.yaml"));
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(fresh, file).unwrap();
    }

    /// Sends SIGHUP, upon which it reads its config again.
    #[allow(dead_code, reason = "each of the tests that share this uses a part of it")]
    pub fn hang_up(&self) {
        self.process.signal("HUP");
    }

    /// Its log so far.
    pub fn log(&self) -> Log {
        Log::read(&String::from_utf8_lossy(&std::fs::read(stderr(self.folder.path())).unwrap()))
    }

    /// Waits for a line in its log, the first one that the condition accepts.
    pub fn wait_for_log(&mut self, deadline: Duration, what: &str, accepts: impl Fn(&Value) -> bool) -> Value {
        let found = within(deadline, || {
            self.assert_running();
            self.log().lines().iter().find(|line| accepts(line)).cloned()
        });
        found.unwrap_or_else(|| self.panic_with_log(&format!("not in its log within {deadline:?}: {what}")))
    }

    /// Waits until a target is in a state; the line that says so.
    pub fn wait_for_state(&mut self, deadline: Duration, target: &str, state: &str) -> Value {
        let found = within(deadline, || {
            self.assert_running();
            self.log().state_of(target).filter(|line| line["state"] == state).cloned()
        });
        found.unwrap_or_else(|| self.panic_with_log(&format!("{target} is not {state} within {deadline:?}")))
    }

    /// Samples the memory that it occupies.
    pub fn memory(&self) -> Meter {
        let pid = self.process.pid();
        Meter::start(Duration::from_millis(200), move || resident_memory(pid).cast_signed())
    }

    /// The processor time that it has had.
    #[allow(dead_code, reason = "each of the tests that share this uses a part of it")]
    pub fn cpu_time(&self) -> Duration {
        cpu_time(self.process.pid())
    }

    /// Lets time pass in which it must not end.
    pub fn keeps_running(&mut self, time: Duration) {
        throughout(time, || self.assert_running());
    }

    /// The most memory that it was seen to occupy, in bytes.
    #[allow(dead_code, reason = "each of the tests that share this uses a part of it")]
    pub fn peak_memory(&mut self) -> u64 {
        self.process.peak_memory()
    }

    /// Sends SIGTERM, upon which it drains.
    pub fn terminate(&self) {
        self.process.signal("TERM");
    }

    /// SIGTERM, and waits for the end of the drain.
    pub fn drain(self) -> Finished {
        self.terminate();
        self.wait(seconds(40))
    }

    /// SIGSTOP: it keeps its connections and does nothing.
    pub fn freeze(&self) {
        self.process.signal("STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.process.signal("CONT");
    }

    /// SIGKILL.
    pub fn kill(self) -> Finished {
        self.process.signal("KILL");
        self.wait(seconds(10))
    }

    /// Waits for its end; panics with the end of its log if it does not come.
    pub fn wait(mut self, deadline: Duration) -> Finished {
        let code = self.process.wait(deadline);
        let peak_memory = self.process.peak_memory();
        let read = |path: PathBuf| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        let (stdout, stderr) = (read(stdout(self.folder.path())), read(stderr(self.folder.path())));
        let code =
            code.unwrap_or_else(|| panic!("it still runs after {deadline:?}; its log from the end\n{}", tail(&stderr)));
        Finished { code, stdout, stderr, peak_memory, folder: self.folder }
    }

    /// Panics with its log if it has ended.
    pub fn assert_running(&mut self) {
        if let Some(code) = self.process.ended() {
            self.panic_with_log(&format!("it ended with {code}"));
        }
    }

    fn panic_with_log(&self, what: &str) -> ! {
        let log = std::fs::read(stderr(self.folder.path())).unwrap();
        panic!("{what}; its log from the end\n{}", tail(&String::from_utf8_lossy(&log)))
    }
}

impl Finished {
    /// Checks the exit code.
    pub fn assert_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n{}\n{}", tail(&self.stdout), tail(&self.stderr));
        self
    }

    /// Checks a clean end, and that the engine held no more than it may: in flight by its own counter, in all by the
    /// system's.
    pub fn assert_bounded(self) -> Self {
        let finished = self.assert_code(0);
        let fields = finished.stopped();
        let field = |name: &str| fields[name].as_u64().unwrap_or_else(|| panic!("no {name} in {fields}"));
        let budget = field("in_flight_budget_bytes");
        let peak = field("in_flight_peak_bytes");
        assert!(budget > 0 && peak <= budget, "{peak} bytes in flight, with a budget of {budget}");
        for memory in [field("peak_memory_bytes"), finished.peak_memory] {
            assert!(memory <= budget + MEMORY_BESIDES, "{memory} bytes of memory, with {budget} in flight allowed");
        }
        finished
    }

    /// The most memory that it was seen to occupy, in bytes.
    #[allow(dead_code, reason = "each of the tests that share this uses a part of it")]
    pub const fn peak_memory(&self) -> u64 {
        self.peak_memory
    }

    /// All that it printed.
    pub fn output(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Its log, all of it.
    pub fn log(&self) -> Log {
        Log::read(&self.stderr)
    }

    /// The fields of the line that the engine ends its log with.
    fn stopped(&self) -> Value {
        let stopped = self.log().with_message("engine stopped").first().map(|line| (*line).clone());
        stopped.unwrap_or_else(|| panic!("no \"engine stopped\" in the log, which ends\n{}", tail(&self.stderr)))
    }
}

/// Removed with the engine, unless `ANABRANCH_KEEP` is set.
fn engine_folder() -> TempDir {
    let keeps = std::env::var_os("ANABRANCH_KEEP").is_some();
    tempfile::Builder::new().prefix("engine-").disable_cleanup(keeps).tempdir_in(run_folder()).unwrap()
}

fn stdout(folder: &Path) -> PathBuf {
    folder.join("stdout")
}

fn stderr(folder: &Path) -> PathBuf {
    folder.join("stderr")
}

/// The last lines, the newest first: whoever shortens what a test says leaves what it begins with.
fn tail(text: &str) -> String {
    text.lines().rev().take(40).collect::<Vec<_>>().join("\n")
}
