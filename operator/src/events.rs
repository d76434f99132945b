//! Events on the claim: where the owner of a volume looks first. An Event that cannot be written is logged and
//! forgotten; conditions are the truth.

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolumeClaim};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use terrace_crds::condition::Reason;
use terrace_crds::names::manager;
use terrace_crds::volume::ClaimRef;
use terrace_plan::effect::{ObjectRef, Tone};

/// Longest note that the API server takes, in bytes.
const NOTE_MAX: usize = 1024;

/// Writes Events.
#[derive(Clone)]
pub struct Events {
    client: Client,
    recorder: Recorder,
}

impl Events {
    /// Events by the replica `identity`.
    #[must_use]
    pub fn new(client: Client, identity: &str) -> Self {
        let reporter =
            Reporter { controller: manager::OPERATOR.into(), instance: Some(identity.to_owned()) };
        Self { recorder: Recorder::new(client.clone(), reporter), client }
    }

    /// Tells the claim.
    pub async fn tell(&self, claim: &ClaimRef, tone: Tone, reason: Reason, note: &str) {
        if let Err(error) = self.publish(claim, tone, reason, note).await {
            tracing::warn!(%error, claim = %claim.name, namespace = %claim.namespace, "event not written");
        }
    }

    async fn publish(
        &self,
        claim: &ClaimRef,
        tone: Tone,
        reason: Reason,
        note: &str,
    ) -> Result<(), kube::Error> {
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), &claim.namespace);
        // Without the UID `kubectl describe pvc` does not find the Event; a claim that is gone needs none.
        let Some(found) = claims.get_metadata_opt(&claim.name).await? else { return Ok(()) };
        let reference = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("PersistentVolumeClaim".into()),
            namespace: Some(claim.namespace.clone()),
            name: Some(claim.name.clone()),
            uid: found.metadata.uid,
            ..ObjectReference::default()
        };
        self.write(&reference, tone, reason, note).await
    }

    /// Tells the PersistentVolume: its claim is gone.
    pub async fn tell_persistent(&self, at: &ObjectRef, tone: Tone, reason: Reason, note: &str) {
        let reference = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("PersistentVolume".into()),
            name: Some(at.name.clone()),
            uid: Some(at.uid.clone()),
            ..ObjectReference::default()
        };
        if let Err(error) = self.write(&reference, tone, reason, note).await {
            tracing::warn!(%error, persistent = %at.name, "event not written");
        }
    }

    async fn write(
        &self,
        reference: &ObjectReference,
        tone: Tone,
        reason: Reason,
        note: &str,
    ) -> Result<(), kube::Error> {
        let type_ = match tone {
            Tone::Normal => EventType::Normal,
            Tone::Warning => EventType::Warning,
        };
        let event = Event {
            type_,
            reason: reason.as_str().into(),
            note: Some(cut(note).to_owned()),
            action: "Provision".into(),
            secondary: None,
        };
        self.recorder.publish(&event, reference).await
    }
}

/// As much of a note as fits.
fn cut(note: &str) -> &str {
    let fits = (0..=NOTE_MAX.min(note.len())).rev().find(|end| note.is_char_boundary(*end));
    &note[..fits.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::{NOTE_MAX, cut};

    #[test]
    fn a_note_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = "é".repeat(NOTE_MAX);
        assert_eq!(cut(&long).len(), NOTE_MAX);
        assert_eq!(cut(&format!("a{long}")).len(), NOTE_MAX - 1);
    }
}
