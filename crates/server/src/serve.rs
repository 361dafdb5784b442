use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;

use crate::{Models, api};

/// How the server is reached and by whom.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 is any free one.
    pub address: SocketAddr,
    /// Certificate and key; without them no encryption.
    pub tls: Option<Tls>,
    /// Who may ask.
    pub access: Access,
    /// How long answers under way may go on after the server was told to stop.
    pub drain: Duration,
}

/// Files in PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate, and those that vouch for it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Who may ask.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Keys, of which a request must have one; none: everybody may ask.
    pub keys: Vec<String>,
    /// Origins whose pages may ask from a browser, `*` for all.
    pub origins: Vec<String>,
}

/// A server that listens.
pub struct Server {
    router: Router,
    models: Arc<Models>,
    listener: std::net::TcpListener,
    tls: Option<RustlsConfig>,
    handle: Handle<SocketAddr>,
    drain: Duration,
}

/// Stops a server from another thread.
#[derive(Clone)]
pub struct Stopper {
    handle: Handle<SocketAddr>,
    models: Weak<Models>,
    drain: Duration,
}

/// How long clients have to take what is left after answers were ended.
const FAREWELL: Duration = Duration::from_secs(1);

impl Stopper {
    /// No more connections; answers under way go on for a while, and are then ended with an error
    /// that says so.
    pub fn stop(&self) {
        let Stopper { handle, models, drain } = self.clone();
        handle.graceful_shutdown(Some(drain + FAREWELL));
        std::thread::spawn(move || {
            std::thread::sleep(drain);
            if let Some(models) = models.upgrade() {
                models.stop();
            }
        });
    }

    /// Everything ends now.
    pub fn abort(&self) {
        self.handle.shutdown();
    }
}

impl Server {
    /// Listens, but answers nothing yet.
    ///
    /// # Errors
    /// The address is taken or not this machine's; the certificate or its key cannot be used;
    /// an origin is none.
    pub async fn bind(models: Models, options: &Options) -> std::io::Result<Self> {
        let models = Arc::new(models);
        let router = api::router(models.clone(), &options.access)?;
        let listener = std::net::TcpListener::bind(options.address)?;
        listener.set_nonblocking(true)?;
        let tls = match &options.tls {
            Some(Tls { certificate, key }) => {
                Some(RustlsConfig::from_pem_file(certificate, key).await?)
            }
            None => None,
        };
        Ok(Server { router, models, listener, tls, handle: Handle::new(), drain: options.drain })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What stops it.
    pub fn stopper(&self) -> Stopper {
        let models = Arc::downgrade(&self.models);
        Stopper { handle: self.handle.clone(), models, drain: self.drain }
    }

    /// Answers until it is stopped, and answers under way have ended or their time is over.
    ///
    /// # Errors
    /// The operating system ends the listening.
    pub async fn run(self) -> std::io::Result<()> {
        let service = self.router.into_make_service_with_connect_info::<SocketAddr>();
        let result = match self.tls {
            Some(tls) => {
                axum_server::from_tcp_rustls(self.listener, tls)?
                    .handle(self.handle)
                    .serve(service)
                    .await
            }
            None => axum_server::from_tcp(self.listener)?.handle(self.handle).serve(service).await,
        };
        self.models.stop();
        result
    }
}
