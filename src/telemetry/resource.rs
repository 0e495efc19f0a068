//! What all telemetry of a process has in common: who it is from.

use std::collections::BTreeMap;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

/// The attributes of this process; what `given` says goes before what it knows of itself.
pub(super) fn resource(given: &BTreeMap<String, String>) -> Resource {
    let mut attributes = BTreeMap::from([
        ("service.name".to_owned(), "anabranch".to_owned()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id".to_owned(), instance()),
    ]);
    // only Linux tells it this way; elsewhere it is left to who collects
    if let Ok(name) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        attributes.insert("host.name".to_owned(), name.trim().to_owned());
    }
    attributes.extend(given.clone());
    let mut attributes: Vec<KeyValue> =
        attributes.into_iter().map(|(name, value)| KeyValue::new(name, value)).collect();
    if !given.contains_key("process.pid") {
        attributes.push(KeyValue::new("process.pid", i64::from(std::process::id())));
    }
    Resource::builder_empty().with_attributes(attributes).build()
}

/// Another one for each life of a process: a random UUID, as the conventions want it.
fn instance() -> String {
    let random = fastrand::u128(..) & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let digits = format!("{random:032x}");
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_an_id_of_its_own_in_the_form_of_a_uuid() {
        let form = regex::Regex::new("^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$").unwrap();
        let (one, other) = (instance(), instance());
        assert!(form.is_match(&one) && form.is_match(&other), "{one} {other}");
        assert_ne!(one, other);
    }

    #[test]
    fn what_is_given_goes_before_what_is_known() {
        let given =
            BTreeMap::from([("service.name".to_owned(), "copier".to_owned()), ("zone".to_owned(), "3".to_owned())]);
        let resource = resource(&given);
        let value = |name: &'static str| resource.get(&name.into()).map(|value| value.to_string());
        assert_eq!(value("service.name").as_deref(), Some("copier"));
        assert_eq!(value("zone").as_deref(), Some("3"));
        assert_eq!(value("service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(value("process.pid"), Some(std::process::id().to_string()));
    }
}
