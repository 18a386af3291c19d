//! The dashboard: one page that shows a running machine as it goes, served to its owner alone.
//!
//! What it shows is what is durable. The commit thread leaves a note of each batch with the [`Watch`], after the batch has been made durable and the guest has
//! been told; a thread of the dashboard's own makes text of these notes, ten times a second at most, and only while somebody looks.
//!
//! Invariants:
//! * Nothing is changed from here: it is read-only, and takes `GET` and `HEAD`.
//! * It listens on loopback and answers this user and root, under the address that it listens on: no other user, and no other site's page.
//! * What it keeps is bounded whatever the machine does and however its viewers read. Who reads too slowly is cut, and reads a new snapshot.
//! * A machine that is run without it has no thread, lock or memory of it.

mod figures;
mod map;
mod peer;
mod rows;
mod site;
mod teller;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use self::site::Site;
pub(crate) use self::watch::RECORDS_MAX;
pub use self::watch::{Noted, Watch};
use crate::ports::sockets::listen;

/// A dashboard that is being served. Dropped, it ends.
pub struct Dashboard {
    watch: Arc<Watch>,
    address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Dashboard {
    /// Listens, for the machine of this name. Nothing is shown of it until it is up.
    ///
    /// # Errors
    /// If nothing can listen there, or the host lacks a thread.
    pub fn open(address: SocketAddr, name: &str) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _entered = runtime.enter();
            listen(address)?
        };
        let address = listener.local_addr()?;
        let watch = Arc::new(Watch::default());
        let site = Site::of(address, name, Arc::clone(&watch));
        let (end, ended) = oneshot::channel();
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = ended => {}
                    () = site.serve(listener) => {}
                }
            });
        };
        let thread = thread::Builder::new().name("abide-dashboard".to_owned()).spawn(run)?;
        Ok(Self { watch, address, end: Some(end), thread: Some(thread) })
    }

    /// What whoever runs the machine leaves notes with.
    #[must_use]
    pub fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
