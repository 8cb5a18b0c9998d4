//! One request as handlers see it: parameters, headers, who calls, and the body where it is no form.

use std::{borrow::Cow, fmt::Write as _, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, header, request::Parts};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Fault, Params};

/// Limits on the bodies of requests, shared by all of a server.
#[derive(Clone)]
pub struct BodyLimits {
    one_max: usize,
    together: Arc<Semaphore>,
    read_timeout: Duration,
}

/// Bodies are counted in units of this many bytes, because a semaphore hands out at most 2³² permits.
const UNIT: usize = 1024;
/// So much of each body is not counted: the number of connections bounds it.
const FREE: usize = 64 * 1024;

impl BodyLimits {
    /// At most `one_max` bytes a body and `all_max` bytes of bodies at once; each is read within `read_timeout`.
    pub fn new(one_max: usize, all_max: usize, read_timeout: Duration) -> Self {
        let units = (all_max.max(one_max) / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Self { one_max, together: Arc::new(Semaphore::new(units)), read_timeout }
    }

    async fn read(&self, parts: &Parts, body: axum::body::Body) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Fault> {
        let declared = parts
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse::<u64>().ok());
        let too_large = || {
            Fault::Outside(StatusCode::PAYLOAD_TOO_LARGE, format!("The request's body is over {} bytes", self.one_max))
        };
        match declared {
            Some(length) if length > self.one_max as u64 => {
                swallow(body).await;
                return Err(too_large());
            }
            _ => {}
        }
        // A body is paid for as it arrives, and never waits for another's room: bodies that wait for one another's second
        // half could block each other, and small ones must pass while large ones come slowly.
        let expected = declared.map_or(0, |length| length as usize);
        let read = async {
            let mut permit: Option<SemaphorePermit<'_>> = None;
            let mut body = body;
            let mut whole = BytesMut::new();
            let mut first: Option<Bytes> = None;
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|_| Fault::bad("the request's body could not be read"))?;
                let Ok(data) = frame.into_data() else { continue };
                let so_far = first.as_ref().map_or(whole.len(), Bytes::len);
                let length = so_far + data.len();
                if length > self.one_max {
                    swallow(body).await;
                    return Err(too_large());
                }
                let held = permit.as_ref().map_or(0, SemaphorePermit::num_permits);
                let wanted = length.saturating_sub(FREE).div_ceil(UNIT);
                if wanted > held {
                    let more = self.together.try_acquire_many((wanted - held) as u32).map_err(|_| {
                        Fault::Outside(StatusCode::SERVICE_UNAVAILABLE, "Too many large requests at once".to_owned())
                    })?;
                    match &mut permit {
                        Some(permit) => permit.merge(more),
                        None => permit = Some(more),
                    }
                }
                match first.take() {
                    None if whole.is_empty() => first = Some(data),
                    None => whole.extend_from_slice(&data),
                    Some(earlier) => {
                        whole.reserve(expected.min(8 << 20).max(length));
                        whole.extend_from_slice(&earlier);
                        whole.extend_from_slice(&data);
                    }
                }
            }
            Ok((first.unwrap_or_else(|| whole.freeze()), permit))
        };
        tokio::time::timeout(self.read_timeout, read).await.unwrap_or_else(|_| {
            Err(Fault::Outside(StatusCode::REQUEST_TIMEOUT, "The request's body did not come in time".to_owned()))
        })
    }
}

/// So much of a body that nobody wants is read before the answer, as in Tomcat (`maxSwallowSize`).
const SWALLOW_MAX: usize = 2 << 20;
const SWALLOW_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads a body and forgets it. A client that is cut off in the middle of sending does not see why.
pub(super) async fn swallow(mut body: axum::body::Body) {
    let read = async {
        let mut left = SWALLOW_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            if length > left {
                return;
            }
            left -= length;
        }
    };
    // Time is up for a client that sends nothing: it is answered all the same.
    let _ = tokio::time::timeout(SWALLOW_TIMEOUT, read).await;
}

/// Most parts of a `multipart/form-data` body.
const PARTS_MAX: usize = 64;

/// An uploaded file: a part of a `multipart/form-data` body.
#[derive(Debug, Clone)]
pub struct FilePart {
    /// The part's name.
    pub name: String,
    /// Its content.
    pub content: Bytes,
}

/// One request.
#[derive(Debug)]
pub struct Call {
    /// The HTTP method; GET for a HEAD request, whose answer loses its body at the end.
    pub method: Method,
    /// The path without the context path and without a trailing slash, as its route has it.
    pub path: &'static str,
    /// The headers.
    pub headers: HeaderMap,
    /// The parameters of query and form.
    pub params: Params,
    /// The body, empty if it was a form of either kind.
    pub body: Bytes,
    /// The files of a `multipart/form-data` body.
    pub files: Vec<FilePart>,
    /// The socket at the other end.
    pub peer: SocketAddr,
    /// The values of the path's segments in braces.
    pub(super) path_values: Vec<(&'static str, String)>,
}

impl Call {
    /// The call of a request that has no body; gives the parts back if it has one.
    pub(super) fn without_body(parts: Parts, path: &'static str, peer: SocketAddr) -> Result<Self, Box<Parts>> {
        let empty = match parts.headers.get(header::CONTENT_LENGTH) {
            Some(length) => length == "0",
            None => !parts.headers.contains_key(header::TRANSFER_ENCODING),
        };
        if empty { Ok(Self::of(parts, path, peer, Bytes::new())) } else { Err(Box::new(parts)) }
    }

    /// Reads a request whole. `path` is what [`Call::path`] shall say.
    pub(super) async fn read(
        parts: Parts,
        body: axum::body::Body,
        path: &'static str,
        peer: SocketAddr,
        limits: &BodyLimits,
    ) -> Result<Self, Fault> {
        let (body, _permit) = limits.read(&parts, body).await?;
        let mut call = Self::of(parts, path, peer, body);
        call.take_parts().await?;
        Ok(call)
    }

    /// Splits a `multipart/form-data` body: files become [`Call::files`], and all else parameters, as to a servlet.
    async fn take_parts(&mut self) -> Result<(), Fault> {
        let Some(boundary) = self.header("content-type").and_then(|kind| multer::parse_boundary(kind).ok()) else {
            return Ok(());
        };
        let body = std::mem::take(&mut self.body);
        let stream = futures_util::stream::once(async move { Ok::<_, std::io::Error>(body) });
        let broken = |_| Fault::Broken("Failed to parse multipart servlet request".into());
        let mut multipart = multer::Multipart::new(stream, boundary);
        let mut form = String::new();
        let mut count = 0;
        while let Some(field) = multipart.next_field().await.map_err(broken)? {
            count += 1;
            if count > PARTS_MAX {
                return Err(Fault::bad("more than 64 parts in one request"));
            }
            let name = field.name().unwrap_or_default().to_owned();
            let is_file = field.file_name().is_some();
            let content = field.bytes().await.map_err(broken)?;
            if is_file {
                self.files.push(FilePart { name, content });
            } else {
                let encoded = |bytes| percent_encoding::percent_encode(bytes, percent_encoding::NON_ALPHANUMERIC);
                let _ = write!(form, "&{}={}", encoded(name.as_bytes()), encoded(&content));
            }
        }
        self.params.set_form(form.into());
        Ok(())
    }

    fn of(parts: Parts, path: &'static str, peer: SocketAddr, body: Bytes) -> Self {
        let is_form = !body.is_empty()
            && parts
                .headers
                .get(header::CONTENT_TYPE)
                .is_some_and(|kind| starts_with_ignoring_case(kind.as_bytes(), b"application/x-www-form-urlencoded"));
        let target = parts.uri.into_parts().path_and_query.filter(|target| target.query().is_some());
        let (form, body) = if is_form { (body, Bytes::new()) } else { (Bytes::new(), body) };
        Self {
            method: if parts.method == Method::HEAD { Method::GET } else { parts.method },
            path,
            headers: parts.headers,
            params: Params::new(target, form),
            body,
            files: Vec::new(),
            peer,
            path_values: Vec::new(),
        }
    }

    /// What stands in the path for the segment `{name}` of the route; empty if the route has no such segment.
    pub fn path_value(&self, name: &str) -> &str {
        self.path_values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// The parameter, its values joined by `,` if it comes more than once.
    pub fn param<'a>(&'a self, name: &str) -> Option<Cow<'a, str>> {
        self.params.joined(name)
    }

    /// The parameter, or `""`.
    pub fn param_or_empty<'a>(&'a self, name: &str) -> Cow<'a, str> {
        self.param(name).unwrap_or_default()
    }

    /// The parameter if it is there and not blank.
    pub fn param_not_blank<'a>(&'a self, name: &str) -> Option<Cow<'a, str>> {
        self.param(name).filter(|value| !value.trim().is_empty())
    }

    /// The parameter, which must be there but may be empty.
    ///
    /// # Errors
    /// [`Fault::Missing`].
    pub fn required(&self, name: &'static str) -> Result<Cow<'_, str>, Fault> {
        self.param(name).ok_or(Fault::Missing(name, "String"))
    }

    /// A whole number, if the parameter is there and not empty.
    ///
    /// # Errors
    /// [`Fault::NotReadable`].
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Fault> {
        match self.param(name) {
            None => Ok(None),
            Some(value) if value.trim().is_empty() => Ok(None),
            Some(value) => parse_number(&value).map(Some),
        }
    }

    /// A whole number that must be there.
    ///
    /// # Errors
    /// [`Fault::Missing`] with Java's name of the type, [`Fault::NotReadable`].
    pub fn required_number<T: std::str::FromStr>(&self, name: &'static str, kind: &'static str) -> Result<T, Fault> {
        self.number(name)?.ok_or(Fault::Missing(name, kind))
    }

    /// A header's value, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        // hyper hands over raw bytes; Nacos' clients send UTF-8 in some of them.
        self.headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
    }

    /// The caller's address: the first of `X-Forwarded-For`, else `X-Real-IP`, else the socket's
    /// (Nacos `WebUtils.getRemoteIp`). For choosing a beta content and for logs, never for trust.
    pub fn client_ip(&self) -> Cow<'_, str> {
        if let Some(forwarded) = self.header("x-forwarded-for") {
            let first = forwarded.split(',').next().unwrap_or_default().trim();
            if !first.is_empty() {
                return first.into();
            }
        }
        match self.header("x-real-ip").map(str::trim) {
            Some(ip) if !ip.is_empty() => ip.into(),
            _ => match self.peer.ip() {
                std::net::IpAddr::V4(ip) => ip.to_string().into(),
                // Java writes IPv6 addresses in full.
                std::net::IpAddr::V6(ip) => ip.segments().map(|segment| format!("{segment:x}")).join(":").into(),
            },
        }
    }

    /// The caller's application: the header `Client-AppName`, else empty (Nacos `RequestUtil.getAppName`).
    pub fn app_name(&self) -> &str {
        self.header("client-appname").unwrap_or_default()
    }
}

/// Reads a whole number as Java's `parseInt` and `parseLong` do, with their error text.
///
/// # Errors
/// [`Fault::NotReadable`].
pub fn parse_number<T: std::str::FromStr>(text: &str) -> Result<T, Fault> {
    text.trim().parse().map_err(|_| Fault::NotReadable(format!("For input string: \"{text}\"")))
}

fn starts_with_ignoring_case(text: &[u8], prefix: &[u8]) -> bool {
    text.len() >= prefix.len() && text[..prefix.len()].eq_ignore_ascii_case(prefix)
}
