//! Where the namespaces are listed: the seam between those who own them (the server) and those who must know
//! whether one exists.

use async_trait::async_trait;

use crate::storage::StorageError;

/// Knows which namespaces exist.
#[async_trait]
pub trait NamespaceDirectory: Send + Sync + 'static {
    /// Whether this namespace was created. The public one always exists and is not asked for.
    async fn exists(&self, id: &str) -> Result<bool, StorageError>;
}

/// For servers without namespaces of their own: every id is good.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnyNamespace;

#[async_trait]
impl NamespaceDirectory for AnyNamespace {
    async fn exists(&self, _: &str) -> Result<bool, StorageError> {
        Ok(true)
    }
}
