//! `anabranch copy`: copies topics up to their end, without a config file.

use regex::Regex;

use super::{Failure, Outcome};
use crate::config::{parse_bootstrap, parse_pattern, parse_start};
use crate::domain::routing::TopicTemplate;
use crate::domain::start::Start;

/// The addresses of one cluster: `host:port`, or several with commas between.
#[derive(Clone, Debug)]
pub struct Bootstrap(pub Vec<String>);

/// The arguments of `copy`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The source cluster, as `host:port[,host:port]`.
    #[arg(long, value_name = "BOOTSTRAP", value_parser = bootstrap)]
    pub from: Bootstrap,
    /// A target cluster; may be given several times.
    #[arg(long, value_name = "BOOTSTRAP", value_parser = bootstrap, env = "kafka_address", required = true)]
    pub to: Vec<Bootstrap>,
    /// Which topics: a regular expression for the whole name.
    #[arg(long, value_name = "REGEX", value_parser = parse_pattern)]
    pub topics: Regex,
    /// The target topic's name; `{topic}` stands for the source's [default: {topic}].
    #[arg(long, value_name = "TOPIC", value_parser = TopicTemplate::parse, env = "kafka_topic_name")]
    pub to_topic: Option<TopicTemplate>,
    /// Where to begin: earliest, latest, or a time such as 2026-11-01T00:00:00Z.
    #[arg(long, value_parser = parse_start, default_value = "earliest")]
    pub start: Start,
    /// Go on with what is written later, until stopped.
    #[arg(long)]
    pub follow: bool,
}

fn bootstrap(text: &str) -> Result<Bootstrap, String> {
    parse_bootstrap(text).map(Bootstrap)
}

/// Copies, with a progress bar on a terminal.
pub fn run(_args: &Args) -> Outcome {
    Err(Failure::at_run_time("`copy` is not built yet"))
}
