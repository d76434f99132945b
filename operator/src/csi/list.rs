//! ListVolumes: by name, page by page. A token names the last volume of its page, so it stays good when that
//! volume goes and when others come.

use csi_proto_rs::csi::v1::list_volumes_response::Entry;
use csi_proto_rs::csi::v1::{ListVolumesRequest, ListVolumesResponse};
use terrace_crds::StorageVolume;
use terrace_plan::world::name_of;

use super::{Service, wire};
use crate::error::Error;

/// Marks tokens as ours, and of this shape.
const TOKEN: &str = "after:";

/// One page of volumes that have their place.
///
/// # Errors
/// [`Error::Token`] for a token of somebody else, [`Error::Field`] for a negative page size.
pub fn list(service: &Service, request: &ListVolumesRequest) -> Result<ListVolumesResponse, Error> {
    let ListVolumesRequest { max_entries, starting_token } = request;
    let most = usize::try_from(*max_entries).map_err(|_| Error::Field { field: "max_entries" })?;
    let after = parse_token(starting_token)?;
    let mut volumes = service.caches.volumes.all().to_vec();
    volumes.retain(|volume| is_listed(volume));
    volumes.sort_by(|a, b| name_of(&a.metadata).cmp(name_of(&b.metadata)));
    let names: Vec<&str> = volumes.iter().map(|volume| name_of(&volume.metadata)).collect();
    let (page, next_token) = page(&names, after, most);
    let entries = volumes[page]
        .iter()
        .map(|volume| Entry { volume: Some(wire::volume(&service.caches, volume)), status: None })
        .collect();
    Ok(ListVolumesResponse { entries, next_token })
}

/// A volume that has no place yet may still come to nothing; one that leaves is as good as gone.
pub(super) fn is_listed(volume: &StorageVolume) -> bool {
    volume.spec.assignment.is_some() && volume.metadata.deletion_timestamp.is_none()
}

/// The name that a page begins after.
///
/// # Errors
/// [`Error::Token`].
pub(super) fn parse_token(token: &str) -> Result<Option<&str>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let name = token.strip_prefix(TOKEN).filter(|name| !name.is_empty());
    name.map(Some).ok_or_else(|| Error::Token { token: token.to_owned() })
}

/// The part of sorted names after `after`, at most `most` of them (0: all), and the token of the next page.
pub(super) fn page(
    names: &[&str],
    after: Option<&str>,
    most: usize,
) -> (std::ops::Range<usize>, String) {
    let start = after.map_or(0, |after| names.partition_point(|name| *name <= after));
    let end = if most == 0 { names.len() } else { names.len().min(start + most) };
    let more = end < names.len() && end > start;
    let token = if more { format!("{TOKEN}{}", names[end - 1]) } else { String::new() };
    (start..end, token)
}

#[cfg(test)]
mod tests {
    use super::{page, parse_token};

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        let names = ["a", "b", "c", "d", "e"];
        let (first, token) = page(&names, None, 2);
        assert_eq!((first, token.as_str()), (0..2, "after:b"));
        let (second, token) = page(&names, parse_token(&token).unwrap(), 2);
        assert_eq!((second, token.as_str()), (2..4, "after:d"));
        let (last, token) = page(&names, parse_token(&token).unwrap(), 2);
        assert_eq!((last, token.as_str()), (4..5, ""));
        assert_eq!(page(&names, None, 0), (0..5, String::new()));
    }

    #[test]
    fn a_token_outlives_its_volume_and_sees_new_ones() {
        assert_eq!(page(&["a", "bb", "c"], Some("b"), 0).0, 1..3);
        assert_eq!(page(&[], Some("b"), 3), (0..0, String::new()));
    }

    #[test]
    fn a_token_of_somebody_else_is_refused() {
        assert!(parse_token("invalid-token").is_err());
        assert!(parse_token("after:").is_err());
        assert_eq!(parse_token("").unwrap(), None);
    }
}
