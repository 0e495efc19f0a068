//! What the commands that talk to a running engine share: where it is, and what they may show.

use secrecy::SecretString;

use super::Failure;
use crate::admin::client::{Client, ClientError};

/// Where the engine is.
#[derive(Debug, clap::Args)]
pub struct Reach {
    /// Where the engine's API listens.
    #[arg(long, env = "ANABRANCH_ADMIN", value_name = "URL", default_value = "http://127.0.0.1:8686")]
    admin: String,
    /// The token of `admin.token`, if it has one; best by the variable, which no list of processes shows.
    #[arg(long, env = "ANABRANCH_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<SecretString>,
}

impl Reach {
    /// The way to it; nothing is asked yet.
    pub fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(&self.admin, self.token.clone())?)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            // what was asked for is not there, or makes no sense
            ClientError::BadUrl(_) | ClientError::Refused { status: 400 | 404 | 422, .. } => {
                Self::usage(error.to_string())
            }
            _ => Self::at_run_time(error.to_string()),
        }
    }
}
