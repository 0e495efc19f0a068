//! Gaps: what a target still needed, or has copied, and the source does not have any more.

use serde::{Deserialize, Serialize};

/// How the source came to lose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GapKind {
    /// Its oldest records were removed before they were copied: by retention, or by somebody.
    Trimmed,
    /// Its newest records were lost after they were copied: by an election of a replica that did not have them.
    Truncated,
    /// The topic was deleted and created again under the same name.
    Recreated,
}

impl GapKind {
    /// The name used in logs, states and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::Truncated => "truncated",
            Self::Recreated => "recreated",
        }
    }
}
