//! Reading sysfs: small files of one line, very many of them. Knows nothing of what they mean.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The kernel writes an attribute into one page.
const PAGE: usize = 4096;

/// What an attribute says, without the space around it. `None`: there is none, it can't be read, or it says nothing.
pub(crate) fn attribute(path: &Path) -> Option<String> {
    let mut page = [0; PAGE];
    // One read: sysfs gives the whole of it or an error, and nobody needs its size.
    let length = File::open(path).ok()?.read(&mut page).ok()?;
    let text = std::str::from_utf8(page.get(..length)?).ok()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// What an attribute says, where that is a number.
pub(crate) fn number(path: &Path) -> Option<u64> {
    attribute(path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::attribute;

    #[test]
    fn an_attribute_is_its_line_and_an_empty_or_missing_one_is_none() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("model");
        std::fs::write(&file, " Slow Disk  \n").unwrap();
        assert_eq!(attribute(&file).as_deref(), Some("Slow Disk"));
        std::fs::write(&file, "\n").unwrap();
        assert_eq!(attribute(&file), None);
        assert_eq!(attribute(&scratch.path().join("serial")), None);
    }
}
