//! What stands in for TLS without its feature.

use redis::{Client, cluster::ClusterClientBuilder};

use crate::error::Error;

#[derive(Debug, Clone, Default)]
pub(super) struct Trust(());

impl Trust {
    pub(super) fn prepare(&self, _url: &str) -> Result<(), Error> {
        Ok(())
    }

    pub(super) fn single(&self, client: Client) -> Result<Client, Error> {
        Ok(client)
    }

    pub(super) fn cluster(&self, builder: ClusterClientBuilder) -> ClusterClientBuilder {
        builder
    }
}
