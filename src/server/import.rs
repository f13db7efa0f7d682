//! Text imports: the body is read as it comes, and handed on.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use tokio::time::timeout;

use super::intake::IntakeError;
use super::service::{Service, sender_of};
use crate::api::response::ApiBody;
use crate::api::route::Route;
use crate::ingest::Protocol;
use crate::ingest::answer::Refusal;
use crate::ingest::decompress::Encoding;
use crate::ingest::text::{ImportRequest, TextImport};

/// Whole lines that came do not wait longer than this for more to come with them.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

impl Service {
    /// Stores a text. A client may take as long as it likes, as long as something comes within the time for a body.
    pub(super) async fn import(&self, route: Route, parts: &Parts, body: Incoming) -> Response<ApiBody> {
        let sender = sender_of(parts, Protocol::Text);
        if let Some(answer) = self.not_now(&sender, &parts.headers) {
            return answer;
        }
        let group = match &route {
            Route::ImportGroup(group) => Some(group.as_str()),
            _ => None,
        };
        let query = parts.uri.query().unwrap_or_default();
        let begun = ImportRequest::read(&parts.headers, query, group, self.clock.now_ms()).and_then(|request| {
            let encoding = Encoding::of(&parts.headers)?;
            TextImport::new(&self.write, &self.turns, sender.clone(), request, encoding)
        });
        let answer = match begun {
            Err(refusal) => {
                self.write.count_refused(&sender, &refusal);
                refusal.into_response()
            }
            Ok(mut import) => match self.read_import(&mut import, body).await {
                Ok(()) => import.finish().await,
                Err(refusal) => import.fail(refusal),
            },
        };
        answer.map(ApiBody::whole)
    }

    async fn read_import<S: crate::ingest::WriteStore>(
        &self,
        import: &mut TextImport<'_, S>,
        mut body: Incoming,
    ) -> Result<(), Refusal> {
        let mut held = self.intake.begin_stream();
        let later = |error: IntakeError| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
        loop {
            let frame = match timeout(FLUSH_AFTER, held.next(body.frame())).await {
                Ok(frame) => frame,
                Err(_) => {
                    import.flush().await?;
                    held.next(body.frame()).await
                }
            };
            match frame.map_err(later)? {
                None => return Ok(()),
                Some(Err(error)) => return Err(Refusal::bad_request(format!("read body: {error}"))),
                Some(Ok(frame)) => {
                    // Trailers say nothing here.
                    if let Ok(part) = frame.into_data() {
                        held.grow(part.len() as u64).await.map_err(later)?;
                        import.feed(part).await?;
                        held.release();
                    }
                }
            }
        }
    }
}
