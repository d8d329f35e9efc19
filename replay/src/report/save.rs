//! Files that are whole or not there.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// Whether a file can be written, before the work that would be lost otherwise.
pub fn check(path: &Path) -> io::Result<()> {
    if is_special(path) {
        return OpenOptions::new().write(true).open(path).map(drop);
    }
    beside(&target(path)).map(drop)
}

/// Writes a file, in the place of one that may be there: beside it, and renamed when complete. What is no
/// ordinary file, as `/dev/stderr`, is written to as it is.
pub fn save(path: &Path, text: &str) -> io::Result<()> {
    if is_special(path) {
        return OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes());
    }
    let target = target(path);
    let mut file = beside(&target)?;
    file.write_all(text.as_bytes())?;
    file.persist(&target).map(drop).map_err(|error| error.error)
}

/// The input that would be lost if this file were written, whatever the names of the two are.
pub fn overwritten<'a, P: AsRef<Path>>(output: &Path, inputs: &'a [P]) -> Option<&'a Path> {
    let identity = |path: &Path| {
        let data = path.metadata().ok().filter(fs::Metadata::is_file)?;
        Some((data.dev(), data.ino()))
    };
    let output = identity(output)?;
    inputs.iter().map(AsRef::as_ref).find(|input| identity(input) == Some(output))
}

/// A name may be that of a link: the file behind it is meant.
fn target(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| !data.is_file())
}

fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    // As a file that is made in the ordinary way; the process's mask takes from it.
    let mode = path.metadata().map_or(0o666, |data| data.permissions().mode() & 0o777);
    let mut builder = Builder::new();
    let builder = builder.prefix(".twinpath-").permissions(Permissions::from_mode(mode));
    builder.tempfile_in(folder.unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.html");
        check(&path).unwrap();
        assert!(!path.exists());
        save(&path, "first, and longer").unwrap();
        save(&path, "second").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        save(&link, "third").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "third");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn an_input_is_found_by_any_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let (input, link, other) =
            (folder.path().join("a"), folder.path().join("b"), folder.path().join("c"));
        fs::write(&input, "").unwrap();
        fs::hard_link(&input, &link).unwrap();
        let inputs = [PathBuf::from("-"), input.clone()];
        assert_eq!(overwritten(&folder.path().join("./a"), &inputs), Some(&*input));
        assert_eq!(overwritten(&link, &inputs), Some(&*input));
        assert_eq!(overwritten(&other, &inputs), None);
        fs::write(&other, "").unwrap();
        assert_eq!(overwritten(&other, &inputs), None);
        assert_eq!(overwritten(Path::new("/dev/null"), &["/dev/null"]), None);
    }

    #[test]
    fn what_is_no_ordinary_file_stays_what_it_is() {
        let null = Path::new("/dev/null");
        check(null).unwrap();
        save(null, "gone").unwrap();
        assert!(!null.metadata().unwrap().is_file());
        assert!(check(Path::new("/nowhere/at/all.html")).is_err());
        assert!(check(Path::new("/")).is_err());
    }
}
