//! Who may do what at a cluster, and how much of it: quotas, users and their passwords, access control lists.

use serde_json::{Value, json};

use super::agent::ask;
use super::cluster::Cluster;

/// The properties of a broker that keeps access control lists. Whoever comes in without security may do everything, so
/// that all but the users of its other listeners work as ever.
pub fn authorizer() -> Vec<(String, String)> {
    let standard = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    [("authorizer.class.name", standard), ("super.users", "User:ANONYMOUS")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// What a quota is about.
#[derive(Clone, Copy, Debug)]
pub enum Quota {
    Produce,
    Consume,
}

impl Quota {
    const fn name(self) -> &'static str {
        match self {
            Self::Produce => "producer_byte_rate",
            Self::Consume => "consumer_byte_rate",
        }
    }
}

/// A quota of every client; taken away when this is dropped, as others use the cluster afterwards.
pub struct Limited<'a>(&'a Cluster, Quota);

impl Drop for Limited<'_> {
    fn drop(&mut self) {
        self.0.set_quota(self.1, None);
    }
}

impl Cluster {
    /// Grants every client so many bytes per second and no more.
    pub fn limit(&self, quota: Quota, bytes_per_second: u64) -> Limited<'_> {
        self.set_quota(quota, Some(bytes_per_second));
        Limited(self, quota)
    }

    fn set_quota(&self, quota: Quota, bytes_per_second: Option<u64>) {
        ask("alter_quota", self.request(json!({ "quota": quota.name(), "bytes_per_second": bytes_per_second })));
    }

    /// Makes a user of SCRAM, or gives one another password.
    pub fn set_scram_user(&self, mechanism: &str, user: &str, password: &str) {
        let user = json!({ "mechanism": mechanism.to_uppercase(), "user": user, "password": password });
        ask("set_scram_user", self.request(user));
    }

    /// Forgets a user of SCRAM. Who is in already stays in.
    pub fn delete_scram_user(&self, mechanism: &str, user: &str) {
        ask("delete_scram_user", self.request(json!({ "mechanism": mechanism.to_uppercase(), "user": user })));
    }

    /// Lets a user do everything with a topic.
    pub fn allow(&self, user: &str, topic: &str) {
        ask("allow", self.request(json!({ "user": user, "topic": topic })));
    }

    /// Takes that back.
    pub fn revoke(&self, user: &str, topic: &str) {
        ask("revoke", self.request(json!({ "user": user, "topic": topic })));
    }

    fn request(&self, mut request: Value) -> Value {
        request["bootstrap"] = json!(self.bootstrap());
        request
    }
}
