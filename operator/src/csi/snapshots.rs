//! ListSnapshots: by name, page by page, of one source or of one id where the caller says so.

use csi_proto_rs::csi::v1::list_snapshots_response::Entry;
use csi_proto_rs::csi::v1::{ListSnapshotsRequest, ListSnapshotsResponse};
use terrace_crds::StorageSnapshot;
use terrace_plan::world::name_of;

use super::list::{page, parse_token};
use super::{Service, wire};
use crate::error::Error;

/// One page of snapshots that were taken.
///
/// # Errors
/// [`Error::Token`] for a token of somebody else, [`Error::Field`] for a negative page size.
pub fn list(
    service: &Service,
    request: &ListSnapshotsRequest,
) -> Result<ListSnapshotsResponse, Error> {
    let ListSnapshotsRequest {
        max_entries,
        starting_token,
        source_volume_id,
        snapshot_id,
        secrets: _,
    } = request;
    let most = usize::try_from(*max_entries).map_err(|_| Error::Field { field: "max_entries" })?;
    let after = parse_token(starting_token)?;
    let is_asked = |snapshot: &StorageSnapshot| {
        (source_volume_id.is_empty() || snapshot.spec.source_volume == *source_volume_id)
            && (snapshot_id.is_empty() || name_of(&snapshot.metadata) == snapshot_id)
    };
    let mut snapshots = service.caches.snapshots.all().to_vec();
    snapshots.retain(|snapshot| is_listed(snapshot) && is_asked(snapshot));
    snapshots.sort_by(|a, b| name_of(&a.metadata).cmp(name_of(&b.metadata)));
    let names: Vec<&str> = snapshots.iter().map(|it| name_of(&it.metadata)).collect();
    let (page, next_token) = page(&names, after, most);
    let entry = |snapshot: &StorageSnapshot| Entry { snapshot: Some(wire::snapshot(snapshot)) };
    let entries = snapshots[page].iter().map(|snapshot| entry(snapshot)).collect();
    Ok(ListSnapshotsResponse { entries, next_token })
}

/// One that was not taken yet may still come to nothing; one that leaves is as good as gone.
fn is_listed(snapshot: &StorageSnapshot) -> bool {
    let taken = snapshot.status.as_ref().is_some_and(|status| status.created_at.is_some());
    taken && snapshot.metadata.deletion_timestamp.is_none()
}
