//! A disk of a broker that can be filled: a file system in memory, whose size is cut to what is used.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Mounted until this process is gone; its holder takes it away then, however that came.
pub struct Disk {
    folder: PathBuf,
    _holder: Child,
}

const SIZE: &str = "size=8g";

impl Disk {
    /// Mounts an empty one on a folder; why not, where that is not allowed.
    pub fn mount(folder: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let script = r#"mount -t tmpfs -o "$1" anabranch-chaos "$2" && echo mounted && cat; umount -l "$2""#;
        let mut holder = Command::new("sh");
        holder.args(["-c", script, "sh", SIZE]).arg(folder).process_group(0);
        holder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = holder.spawn().map_err(|error| error.to_string())?;
        let mut said = String::new();
        BufReader::new(holder.stdout.take().expect("it is piped")).read_line(&mut said).ok();
        if said.trim() == "mounted" {
            Ok(Self { folder: folder.to_owned(), _holder: holder })
        } else {
            Err("nothing may be mounted here; it takes root".to_owned())
        }
    }

    /// Leaves room for a second's worth, so that it is full while something is written.
    pub fn fill(&self) {
        let used = Command::new("df").args(["--output=used", "-B1024"]).arg(&self.folder).output().unwrap();
        let used = String::from_utf8_lossy(&used.stdout);
        let kilobytes: u64 = used.lines().last().unwrap().trim().parse().unwrap();
        self.resize(&format!("size={}k", kilobytes + 256));
    }

    /// Room again.
    pub fn clear(&self) {
        self.resize(SIZE);
    }

    fn resize(&self, size: &str) {
        let mut mount = Command::new("mount");
        let status = mount.args(["-o", &format!("remount,{size}")]).arg(&self.folder).status().unwrap();
        assert!(status.success(), "{} can't be given {size}", self.folder.display());
    }
}
