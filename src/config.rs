//! The config: YAML, the environment over it, and from raw keys to a checked [`Plan`].
//!
//! - `${NAME}` in a value of the file is replaced from the environment; `$${` stands for a plain `${`.
//! - `ANABRANCH__LIMITS__DRAIN=10s` overrides the key `limits.drain`. Keys of the file are found whatever their
//!   capitals are; a key that the file does not have is made in lower case. Shells do not allow dots and dashes in a
//!   variable's name: for a route or an alias with those, use `${NAME}` in the file.
//! - Unknown keys are refused. All mistakes are reported at once, each with its path and what to do about it.
//! - No message repeats a value under `security` (but a misspelt `protocol` or `mechanism`), `admin.token`, one of
//!   `telemetry.otlp.headers`, that of an unknown key, or one that the environment gave.
//! - OpenTelemetry's own variables say what `telemetry` leaves open.

mod admin;
mod bandwidth;
mod cluster;
pub(crate) mod keys;
mod loops;
mod mistake;
mod otel;
mod reader;
mod retry;
mod route;
pub mod state_file;
mod telemetry;
mod tree;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::Regex;

pub use self::mistake::{Mistake, Mistakes};

use self::mistake::{Read, Report};
use self::reader::{Field, Section};
use self::retry::Retry;
use self::route::Process;
use self::values::one_line;
use crate::domain::start::Start;
use crate::plan::{Limits, Plan, Reload};

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file}: cannot be read ({cause}); give `--config` the path of a YAML file", file = file.display())]
    Unreadable {
        /// The file, as it was given.
        file: PathBuf,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
    /// The text is not a YAML mapping.
    #[error("{file}: {problem}", file = file.display())]
    NotYaml {
        /// The file, as it was given.
        file: PathBuf,
        /// What the parser says, in one line.
        problem: String,
    },
    /// Keys or values are wrong.
    #[error("{file}: {count} {noun}\n{mistakes}", file = file.display(), count = mistakes.0.len(), noun = noun(mistakes))]
    Wrong {
        /// The file, as it was given.
        file: PathBuf,
        /// All that is wrong; at least one.
        mistakes: Mistakes,
    },
}

fn noun(mistakes: &Mistakes) -> &'static str {
    if mistakes.0.len() == 1 { "mistake" } else { "mistakes" }
}

/// Reads a config file, with this process's environment.
pub fn load(path: &Path) -> Result<Plan, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|cause| ConfigError::Unreadable { file: path.to_path_buf(), cause })?;
    // a variable that is not Unicode counts as one that is not set
    let env = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
    read(path, &text, path.parent().unwrap_or(Path::new("")), &env)
}

/// Reads a config from a text. Paths in it are relative to `base_dir`; `env` is all of the environment that counts.
pub fn load_str(text: &str, base_dir: &Path, env: &BTreeMap<String, String>) -> Result<Plan, ConfigError> {
    read(Path::new("config"), text, base_dir, env)
}

fn read(file: &Path, text: &str, base_dir: &Path, env: &BTreeMap<String, String>) -> Result<Plan, ConfigError> {
    let mut root = tree::parse(text).map_err(|problem| ConfigError::NotYaml { file: file.to_path_buf(), problem })?;
    let overrides = tree::override_from(&mut root, env);
    let report = Report::default();
    tree::expand_map(&mut root, "", env, &report);
    let plan = read_plan(&root, file, base_dir, env, &report);
    let mut mistakes = report.into_mistakes();
    for mistake in &mut mistakes {
        if let Some(source) = overrides.iter().find(|source| source.path == mistake.path) {
            mistake.problem = format!("{} (set by {})", mistake.problem, source.variable);
        }
    }
    match plan {
        Ok(plan) if mistakes.is_empty() => Ok(plan),
        _ => Err(ConfigError::Wrong { file: file.to_path_buf(), mistakes: Mistakes(mistakes) }),
    }
}

fn read_plan(
    root: &tree::Map,
    file: &Path,
    base_dir: &Path,
    env: &BTreeMap<String, String>,
    report: &Report,
) -> Read<Plan> {
    let section = Section::new(Some(root), String::new(), keys::ROOT, report);
    let admin = admin::read(&section, file, base_dir);
    let reload = read_reload(&section.field("reload"));
    let limits = read_limits(&section);
    let telemetry = telemetry::read(&section, base_dir, env);
    let clusters = cluster::read_all(&section.field("clusters"), base_dir);
    let in_flight = limits.as_ref().map(|limits| limits.in_flight).map_err(|reported| *reported);
    let retry = Retry::default().with(&section.field("retry"), &clusters);
    let process = Process { clusters: &clusters, in_flight, retry };
    let routes = route::read_all(&section.field("routes"), &process);
    let routes = routes.into_iter().collect::<Read<Vec<_>>>()?;
    route::check_groups(&routes, report);
    let clusters = clusters.into_iter().map(|(alias, cluster)| Ok((alias, cluster?))).collect::<Read<_>>()?;
    Ok(Plan { admin: admin?, limits: limits?, telemetry: telemetry?, clusters, routes, reload: reload? })
}

fn read_reload(field: &Field<'_>) -> Read<Reload> {
    let read = field.choice(&[Reload::OnRequest, Reload::Watch].map(|reload| (reload.name(), reload)));
    Ok(read?.unwrap_or_default())
}

fn read_limits(root: &Section<'_>) -> Read<Limits> {
    const SECOND: Duration = Duration::from_secs(1);
    const LONGEST_DRAIN: Duration = Duration::from_hours(24);
    const LONGEST_STALL: Duration = Duration::from_hours(1);
    let section = root.field("limits").section(keys::LIMITS)?;
    let in_flight = section.field("in_flight").size(2 << 10..=1 << 40);
    let bandwidth = section.field("bandwidth").or_unlimited(None, Field::rate);
    let drain = section.field("drain").duration(SECOND..=LONGEST_DRAIN);
    let stall = section.field("stall").duration(SECOND..=LONGEST_STALL);
    Ok(Limits {
        in_flight: in_flight?.unwrap_or(keys::IN_FLIGHT_LIMIT),
        drain: drain?.unwrap_or(keys::DRAIN),
        bandwidth: bandwidth?,
        stall: stall?.unwrap_or(keys::STALL),
    })
}

/// Parses `host:port`, or several separated by commas: for the command line. The error says what to do.
pub fn parse_bootstrap(text: &str) -> Result<Vec<String>, String> {
    values::addresses(text).map_err(|refusal| one_line(&refusal))
}

/// Parses a rate such as `20MiB/s`, in bytes per second, or `unlimited`, which is `None`: for those who change one while the engine
/// runs. The error says what to do.
pub fn parse_rate(text: &str) -> Result<Option<u64>, String> {
    if text == "unlimited" {
        return Ok(None);
    }
    values::rate(text).map(Some).map_err(|refusal| one_line(&refusal))
}

/// Compiles a pattern for whole topic names: for the command line. The error is one line and says what to do.
pub fn parse_pattern(text: &str) -> Result<Regex, String> {
    values::pattern(text).map_err(|refusal| one_line(&refusal))
}

/// Parses `earliest`, `latest` or an RFC 3339 time: for the command line. The error says what to do.
pub fn parse_start(text: &str) -> Result<Start, String> {
    values::start(text).map_err(|refusal| one_line(&refusal))
}

/// Parses an RFC 3339 time to milliseconds since 1970: for the command line. The error says what to do.
pub fn parse_time(text: &str) -> Result<i64, String> {
    values::timestamp(text).map_err(|refusal| one_line(&refusal))
}

/// What to write instead of a name that is not known: the nearest one that is, or all of them.
pub fn suggest<'k>(name: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> String {
    mistake::suggestion(name, known)
}

#[cfg(test)]
mod tests;
