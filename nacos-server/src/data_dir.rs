//! The data folder: what lies where in it, and the id that this node keeps for ever.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// The data folder of one server.
#[derive(Debug, Clone)]
pub struct DataDir {
    root: PathBuf,
}

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be created or written. Its owner or the disk must be looked after.
    #[error("the data folder {0} cannot be used")]
    Unusable(PathBuf, #[source] io::Error),
    /// The node's id does not read. It must be restored from a backup, or removed if this node may become another.
    #[error("the node id in {0} is damaged")]
    NodeId(PathBuf),
}

impl DataDir {
    /// Uses this folder, which is created if need be.
    ///
    /// # Errors
    /// [`DataDirError::Unusable`].
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, DataDirError> {
        let root = root.into();
        std::fs::create_dir_all(&root).map_err(|error| DataDirError::Unusable(root.clone(), error))?;
        Ok(Self { root })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The embedded database.
    pub fn database(&self) -> PathBuf {
        self.root.join("nacos.db")
    }

    /// The log of what service discovery must not lose.
    pub fn naming(&self) -> PathBuf {
        self.root.join("naming").join("naming.db")
    }

    /// The disk copies of configurations.
    pub fn config_data(&self) -> PathBuf {
        self.root.join("config-data")
    }

    /// The properties file of this folder.
    pub fn properties(root: &Path) -> PathBuf {
        root.join("conf").join("application.properties")
    }

    /// The id of this node: made once at random, kept, the same after every restart. The lock of the database
    /// must be held, so that two servers do not make two.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn node_id(&self) -> Result<u64, DataDirError> {
        let path = self.root.join("node-id");
        let unusable = |error| DataDirError::Unusable(self.root.clone(), error);
        match std::fs::read_to_string(&path) {
            Ok(text) => u64::from_str_radix(text.trim(), 16).map_err(|_| DataDirError::NodeId(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut bytes = [0; 8];
                std::fs::File::open("/dev/urandom")
                    .and_then(|mut file| file.read_exact(&mut bytes))
                    .map_err(unusable)?;
                let id = u64::from_le_bytes(bytes);
                // Aside, synced, renamed: a crash leaves the whole id or none.
                let aside = path.with_extension("new");
                let mut file = std::fs::File::create(&aside).map_err(unusable)?;
                writeln!(file, "{id:016x}").and_then(|()| file.sync_all()).map_err(unusable)?;
                std::fs::rename(&aside, &path).map_err(unusable)?;
                std::fs::File::open(&self.root).and_then(|folder| folder.sync_all()).map_err(unusable)?;
                Ok(id)
            }
            Err(error) => Err(unusable(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path().join("a/b")).unwrap();
        let id = dir.node_id().unwrap();
        assert_eq!(dir.node_id().unwrap(), id);
        std::fs::write(dir.root().join("node-id"), "x").unwrap();
        assert!(matches!(dir.node_id(), Err(DataDirError::NodeId(_))));
    }

    #[test]
    fn a_folder_that_is_a_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "").unwrap();
        assert!(matches!(DataDir::open(&path), Err(DataDirError::Unusable(..))));
    }
}
