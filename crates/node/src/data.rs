//! The data folder: what a node keeps between runs, one node at a time.
//!
//! ```text
//!   DATA/lock          held while a node runs
//!   DATA/version       which form the folder has, a number
//!   DATA/admin.sock    while a node runs: where it is asked
//!   DATA/nodekey …     keys, by wire
//!   DATA/cast/         received files
//! ```
//! The lock is the system's own: it goes with the process, however that ends.
//!
//! The form is [`VERSION`]. A folder without a number is of the first form, as those from before numbers were. An older one
//! is brought to this form step by step (`UPGRADES`), the number last, so that an upgrade that was interrupted is done
//! again; a newer one is refused and left as it is.

use crate::error::NodeError;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

/// File that is locked while a node runs.
const LOCK: &str = "lock";
/// How often a lock that is held is tried again, and after which pause.
const LOOKERS: u32 = 5;
const LOOK: std::time::Duration = std::time::Duration::from_millis(10);
/// File with the form's number.
const FORM: &str = "version";
/// The form that this program writes.
pub const VERSION: u32 = 1;
/// Longest text of a number that is read.
const MAX_NUMBER: u64 = 32;

/// A step from one form to the next; done twice it does no harm.
type Upgrade = fn(&Path) -> std::io::Result<()>;
/// The steps, that from form 1 first. So far there is one form.
const UPGRADES: [Upgrade; VERSION as usize - 1] = [];

/// A data folder that no other node uses.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    /// Held for its lock.
    _lock: File,
}

impl DataFolder {
    /// Takes the folder, which is made if it is not there.
    ///
    /// # Errors
    /// A folder that cannot be used, that another node uses, or that a newer program wrote.
    pub fn take(path: &Path) -> Result<Self, NodeError> {
        let shown = path.display();
        let refuse = |what: &dyn std::fmt::Display| {
            NodeError::usage(format!(
                "cannot use the data folder {shown}: {what}: choose another with --data"
            ))
        };
        std::fs::create_dir_all(path).map_err(|e| refuse(&e))?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join(LOCK));
        let lock = lock.map_err(|e| refuse(&e))?;
        let mut taken = lock.try_lock();
        for _ in 0..LOOKERS {
            if !matches!(taken, Err(TryLockError::WouldBlock)) {
                break;
            }
            // Whoever only looks whether a node runs holds it for some microseconds.
            std::thread::sleep(LOOK);
            taken = lock.try_lock();
        }
        match taken {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(refuse(&"another node uses it")),
            Err(TryLockError::Error(error)) => return Err(refuse(&error)),
        }
        upgrade(path, VERSION, &UPGRADES).map_err(|why| match why {
            Form::Newer(found) => NodeError::usage(format!(
                "the data folder {shown} has form {found}, this program knows forms up to {VERSION}: use the program that \
                 wrote it, or choose another --data"
            )),
            Form::Odd => refuse(&"its file version holds no number"),
            Form::Io(error) => refuse(&error),
        })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether a node uses a data folder now. A folder without a lock is nobody's.
///
/// # Errors
/// A lock that cannot be looked at.
pub fn is_used(path: &Path) -> std::io::Result<bool> {
    let lock = match File::open(path.join(LOCK)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Why a folder's form is of no use.
#[derive(Debug)]
enum Form {
    Newer(u32),
    Odd,
    Io(std::io::Error),
}

impl From<std::io::Error> for Form {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// Brings a folder to the form `wanted`. `steps` are those from form 1 on.
fn upgrade(path: &Path, wanted: u32, steps: &[Upgrade]) -> Result<(), Form> {
    let file = path.join(FORM);
    let found = match std::fs::metadata(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
        Ok(meta) if meta.len() > MAX_NUMBER => return Err(Form::Odd),
        Ok(_) => Some(std::fs::read_to_string(&file)?.trim().parse().map_err(|_| Form::Odd)?),
    };
    let form: u32 = found.unwrap_or(1);
    if form > wanted {
        return Err(Form::Newer(form));
    }
    if form == 0 {
        return Err(Form::Odd);
    }
    for step in steps.iter().skip(form as usize - 1) {
        step(path)?;
    }
    if found == Some(wanted) {
        return Ok(());
    }
    let mut whole = tempfile::NamedTempFile::new_in(path)?;
    writeln!(whole, "{wanted}")?;
    whole.as_file().sync_all()?;
    whole.persist(&file).map_err(|failed| failed.error)?;
    Ok(())
}

/// A folder that goes with its owner.
///
/// # Errors
/// When there is no place for temporary folders.
pub fn scratch() -> Result<tempfile::TempDir, NodeError> {
    tempfile::tempdir().map_err(|e| {
        NodeError::usage(format!("no temporary folder: {e}: set TMPDIR to a folder that can be written"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_nodes_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let first = DataFolder::take(&data).unwrap();
        let said = DataFolder::take(&data).unwrap_err().to_string();
        assert!(said.ends_with("another node uses it: choose another with --data"), "{said}");
        assert!(is_used(&data).unwrap());
        drop(first);
        assert!(!is_used(&data).unwrap() && !is_used(dir.path()).unwrap());
        DataFolder::take(&data).unwrap();
        assert_eq!(std::fs::read_to_string(data.join(FORM)).unwrap(), "1\n");
    }

    #[test]
    fn a_newer_folder_is_refused_in_one_line_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        for (text, what) in
            [("2\n", "has form 2, this program knows forms up to 1"), ("0", "no number"), ("x", "no number")]
        {
            std::fs::write(dir.path().join(FORM), text).unwrap();
            let said = DataFolder::take(dir.path()).unwrap_err().to_string();
            assert!(said.contains(what) && said.lines().count() == 1, "{said}");
            assert_eq!(std::fs::read_to_string(dir.path().join(FORM)).unwrap(), text);
        }
    }

    #[test]
    fn an_older_folder_goes_through_every_step_once_and_a_failed_step_leaves_its_number() {
        fn one(path: &Path) -> std::io::Result<()> {
            std::fs::write(path.join("one"), "")
        }
        fn two(path: &Path) -> std::io::Result<()> {
            std::fs::rename(path.join("one"), path.join("two"))
        }
        fn fails(_: &Path) -> std::io::Result<()> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        let dir = tempfile::tempdir().unwrap();
        let form = || std::fs::read_to_string(dir.path().join(FORM)).ok();
        assert!(matches!(upgrade(dir.path(), 3, &[one, fails]), Err(Form::Io(_))));
        assert_eq!(form(), None, "it is still of the first form");
        upgrade(dir.path(), 3, &[one, two]).unwrap();
        assert_eq!(form().as_deref(), Some("3\n"));
        assert!(dir.path().join("two").exists());
        upgrade(dir.path(), 3, &[fails, fails]).unwrap();
    }
}
