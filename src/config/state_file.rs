//! The file that keeps what is switched by hand: small, JSON, and replaced as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::plan::switches::Switches;

/// Reads what was switched by hand; where there is no such file, nothing was.
pub fn load(path: &Path) -> Result<Switches, StateError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Switches::default()),
        Err(cause) => return Err(StateError::Unreadable { file: path.to_path_buf(), cause }),
    };
    serde_json::from_str(&text).map_err(|cause| StateError::Damaged { file: path.to_path_buf(), cause })
}

/// Writes what is switched by hand. Whatever happens meanwhile, the file is as it was or as it is to be.
pub fn store(path: &Path, switches: &Switches) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = path.file_name().ok_or_else(|| io::Error::other("it is no file's name"))?.to_os_string();
    name.push(".new");
    let fresh = folder.join(name);
    let mut text = serde_json::to_string_pretty(switches).map_err(io::Error::other)?;
    text.push('\n');
    let mut file = File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    drop(file);
    fs::rename(&fresh, path)?;
    // the name, too, has to be on the disk
    File::open(folder)?.sync_all()
}

/// Why what was switched by hand is not known.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file is there, and can't be read.
    #[error("{file}: cannot be read ({cause}); it keeps what was switched by hand: see `admin.state`", file = file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// It is not what was written.
    #[error("{file}: is damaged ({cause}); mend it, or remove it to go back to what the config says", file = file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What the parser says.
        #[source]
        cause: serde_json::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fan-out.state.json");
        assert_eq!(load(&path).unwrap(), Switches::default());
        let mut switches = Switches::default();
        switches.routes.entry("orders".to_owned()).or_default().enabled = Some(false);
        store(&path, &switches).unwrap();
        store(&path, &switches).unwrap();
        assert_eq!(load(&path).unwrap(), switches);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        fs::write(&path, "{\"routes\": {\"orders\": {\"enabled\": 3}}}").unwrap();
        let damaged = load(&path).unwrap_err().to_string();
        assert!(damaged.contains("is damaged") && damaged.contains("remove it"), "{damaged}");
        assert!(store(&folder.path().join("none").join("x"), &switches).is_err());
    }
}
