//! Names that Nacos knows, or the frameworks it is built on, and that have nothing to set here.

use super::NoEffect;

/// Looked at from the top; a name that ends in a dot stands for all that begin with it.
pub(in super::super) const NO_EFFECT: &[NoEffect] = &[
    guard("server.ssl.", "TLS is not served; put a proxy before this server"),
    guard("nacos.remote.server.rpc.tls.", "TLS is not served yet"),
    guard("nacos.remote.peer.rpc.tls.", "TLS between members is not there yet"),
    guard("nacos.core.auth.plugin.", "there is no such authentication plug-in"),
    guard("nacos.plugin.control.", "there is no plug-in for flow control"),
    guard("spring.security.", "rights are checked by nacos.core.auth.*"),
    none("server.", "it belongs to Java's web server"),
    none("spring.", "it belongs to Spring"),
    none("management.", "metrics and health are always at /actuator"),
    none("logging.", "see nacos.log.level and nacos.logs.*"),
    none("nacos.logging.", "see nacos.log.level and nacos.logs.*"),
    none("debug", "see nacos.log.level"),
    none("trace", "see nacos.log.level"),
    none("db.pool.config.", "it belongs to Java's connection pool"),
    none("nacos.plugin.", "there is no such plug-in"),
    none("nacos.core.config.plugin.", "there is no such plug-in"),
    none("nacos.cmdb.", "there is no CMDB plug-in"),
    none("nacos.istio.", "there is no bridge to Istio"),
    none("nacos.k8s.", "there is no bridge to Kubernetes"),
    none("nacos.custom.environment.enabled", "there is no such plug-in"),
    none("nacos.remote.server.rpc.protocol.negotiator.type", "there is one form of gRPC"),
    none("nacos.remote.cluster.server.rpc.protocol.negotiator.type", "there is one form of gRPC"),
    none("nacos.remote.client.", "it belongs to clients"),
    none("nacos.client.", "it belongs to clients"),
    none("nacos.core.protocol.raft.", "it tunes Java's Raft"),
    none("nacos.naming.distro.", "it tunes the Distro of Nacos 1"),
    none("nacos.core.notify.", "queues are sized by themselves"),
    none("nacos.member-change-event.queue.size", "queues are sized by themselves"),
    none("nacos.core.sys.basic.processors", "the runtime counts processors by itself"),
    none("nacos.common.processors", "the runtime counts processors by itself"),
    none("nacos.core.param.check.checker", "there is one checker"),
    none("nacos.config.history.clear.name", "there is one cleaner of the history"),
    none("nacos.config.cache.type", "there is one cache"),
    none("nacos.config.query.chain.", "there is one way of a query"),
    none("nacos.persistence.sql.derby.limit.enabled", "no endpoint runs SQL"),
    none("nacos.watch-file.max-dirs", "only conf is watched"),
    none("nacos.http.timeout", "see nacos.server.http.*"),
    none("nacos.web.charset.filter", "everything is UTF-8"),
    none("nacos.namespace.migrate.", "there is nothing to migrate"),
    none("nacos.gray.migrate.", "there is nothing to migrate"),
    none("nacos.app.conn.labels", "it belongs to clients"),
    none("nacos.as.default", "it belongs to the address server"),
    none("nacos.core.remote.", "there is no such plug-in"),
    none("nacos.sys.", "it belongs to Spring"),
    none("nacos.env.first", "the environment always wins over the file"),
    none("nacos.mode", "see nacos.standalone"),
    none("nacos.function.mode", "see nacos.functionMode"),
    none("nacos.local.ip", "see nacos.server.ip"),
    none("nacos.server.grpc.port.offset", "gRPC listens 1000 above the port"),
    none("nacos.remote.grpc.listen.ip", "see server.address"),
    none("isQuickStart", "start is always quick"),
    none("memory_limit_file_path", "it sizes Java's pages"),
    none("java.", "it belongs to Java"),
];

const fn none(name: &'static str, why: &'static str) -> NoEffect {
    NoEffect { name, why, guards: false }
}

const fn guard(name: &'static str, why: &'static str) -> NoEffect {
    NoEffect { name, why, guards: true }
}
