//! Reads what can change while the server runs: the web configuration file, with the certificates and tokens that it names.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use tokio::signal::unix::Signal;
use tokio::sync::watch;

use super::doors::WebConfigError;
use super::service::Service;
use crate::api::response::{self, ApiBody};

/// Reloads at each SIGHUP, until the server stops.
pub(super) async fn at_each_hangup(mut hangups: Signal, service: Arc<Service>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            Some(()) = hangups.recv() => {
                // What went wrong is in the log and in the metrics.
                let _ = service.reload().await;
            }
            _ = stop.changed() => return,
        }
    }
}

impl Service {
    /// Reads the configuration again. A bad one keeps the old.
    pub(super) async fn reload(&self) -> Result<(), WebConfigError> {
        let result = match self.doors.clone() {
            None => Ok(()),
            // A panic would have been logged; what was there before still stands then.
            Some(doors) => tokio::task::spawn_blocking(move || doors.reload()).await.unwrap_or(Ok(())),
        };
        self.api.reloads().note(result.is_ok(), self.clock.now_ms());
        match &result {
            Ok(()) => tracing::info!("configuration reloaded"),
            Err(error) => tracing::error!(%error, "configuration was not reloaded; the old one stays"),
        }
        result
    }

    /// `/-/reload`.
    pub(super) async fn answer_reload(&self) -> Response<ApiBody> {
        if !self.lifecycle {
            return response::text(StatusCode::FORBIDDEN, "Lifecycle API is not enabled.");
        }
        match self.reload().await {
            Ok(()) => response::text(StatusCode::OK, ""),
            Err(error) => {
                let text = format!("failed to reload config: {error}\n");
                response::text(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        }
    }
}
