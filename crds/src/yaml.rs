//! The one place that calls serde_yaml (deprecated upstream, the owner's choice).

use serde::{Serialize, de::DeserializeOwned};

/// Why a document could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("convert YAML")]
pub struct Error(#[from] serde_yaml::Error);

/// One YAML document of `value`.
pub fn to_yaml<T: Serialize>(value: &T) -> Result<String, Error> {
    Ok(serde_yaml::to_string(value)?)
}

/// Every document of `text`, in order; empty documents are passed over.
pub fn from_yaml<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, Error> {
    use serde::Deserialize;
    let mut found = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = serde_yaml::Value::deserialize(document)?;
        if !value.is_null() {
            found.push(serde_yaml::from_value(value)?);
        }
    }
    Ok(found)
}
