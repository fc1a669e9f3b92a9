"""What can be wrong with an installation, and what to do about it, in plain words."""

from enum import StrEnum
from typing import NamedTuple


class Fault(StrEnum):
    """What a step found."""

    NAME_UNKNOWN = "name-unknown"
    PORT_CLOSED = "port-closed"
    PORT_FILTERED = "port-filtered"
    HOST_UNREACHABLE = "host-unreachable"
    SPEAKS_OTHER = "speaks-other"
    SPEAKS_UNKNOWN = "speaks-unknown"
    NOT_LINKSTEAD = "not-linkstead"
    CA_FILE = "ca-file"
    CERTIFICATE_UNTRUSTED = "certificate-untrusted"
    CERTIFICATE_WRONG_NAME = "certificate-wrong-name"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_YET_VALID = "certificate-not-yet-valid"
    TLS_OLD = "tls-old"
    TLS_FAILED = "tls-failed"
    CLOCK_SKEW = "clock-skew"
    ACCESS_KEY_UNKNOWN = "access-key-unknown"
    ACCESS_KEY_DISABLED = "access-key-disabled"
    ACCESS_KEY_SECRET_WRONG = "access-key-secret-wrong"
    SIGNATURE_DIFFERS = "signature-differs"
    QUOTA = "quota"
    FORBIDDEN = "forbidden"
    REQUEST_REFUSED = "request-refused"
    NO_ANSWER = "no-answer"
    INSTANCE_UNKNOWN = "instance-unknown"
    PRODUCT_NOT_FOUND = "product-not-found"
    PRODUCT_NOT_THERE = "product-not-there"
    PRODUCT_OF_OTHER_ACCOUNT = "product-of-other-account"
    DEVICE_NOT_FOUND = "device-not-found"
    DEVICE_DISABLED = "device-disabled"
    DEVICE_NEVER_ACTIVATED = "device-never-activated"
    DEVICE_NOT_CONNECTED = "device-not-connected"
    CLIENT_ID = "client-id"
    SIGN_METHOD = "sign-method"
    KEEP_ALIVE = "keep-alive"
    MQTT_PASSWORD = "mqtt-password"
    DEVICE_SECRET_WRONG = "device-secret-wrong"
    DEVICE_REFUSED = "device-refused"
    CONNECT_REFUSED = "connect-refused"
    TOPIC_FORM = "topic-form"
    TOPIC_CLASS_MISSING = "topic-class-missing"
    TOPIC_NOT_SUBSCRIBED = "topic-not-subscribed"
    EXT_NOT_SET = "ext-not-set"
    MODEL_NOT_PUBLISHED = "model-not-published"
    SERVICE_UNKNOWN = "service-unknown"
    CALL_FAILED = "call-failed"
    AMQP_LOGIN = "amqp-login"
    CONSUMER_GROUP_UNKNOWN = "consumer-group-unknown"
    AMQP_REFUSED = "amqp-refused"
    DATABASE_MISSING = "database-missing"
    DATABASE_UNREADABLE = "database-unreadable"
    DATABASE_REVISION_OLD = "database-revision-old"
    DATABASE_REVISION_UNKNOWN = "database-revision-unknown"
    DISK_FULL = "disk-full"
    FILE_MODE = "file-mode"
    MASTER_KEY_FILE = "master-key-file"
    MASTER_KEY_MISSING = "master-key-missing"
    CERTIFICATE_FILE = "certificate-file"
    DEVICE_CERTIFICATE_MISSING = "device-certificate-missing"
    DEVICE_CERTIFICATE_EXPIRED = "device-certificate-expired"


class FaultText(NamedTuple):
    """What is wrong and what to do, in English and Chinese. `{name}` stands for a fact of the finding."""

    meaning_en: str
    advice_en: str
    meaning_zh: str
    advice_zh: str


FAULTS = {
    Fault.NAME_UNKNOWN: FaultText(
        "The name {host} leads to no address ({reason}).",
        "Check the spelling, and the DNS or hosts entry on this machine.",
        "域名 {host} 无法解析（{reason}）。",
        "请检查拼写，以及本机的 DNS 或 hosts 配置。",
    ),
    Fault.PORT_CLOSED: FaultText(
        "Nothing listens on {host}:{port}.",
        "Is the server running, and on this port? Its ready file and its log say where it listens; 127.0.0.1 is "
        "reached from the same machine only.",
        "{host}:{port} 没有程序监听。",
        "请确认服务器已启动并监听此端口：可查看其 ready 文件和日志；监听 127.0.0.1 时仅本机可访问。",
    ),
    Fault.PORT_FILTERED: FaultText(
        "{host}:{port} did not answer within {wait_s} s: a firewall drops what is sent there, or the host is down.",
        "Open the port in the firewall or the security group, and check that the host is up.",
        "{host}:{port} 在 {wait_s} 秒内没有响应：可能被防火墙丢弃，或主机未开机。",
        "请在防火墙或安全组中放行该端口，并确认主机在线。",
    ),
    Fault.HOST_UNREACHABLE: FaultText(
        "There is no way to {host}:{port} ({reason}).",
        "Check the network and the routes of this machine.",
        "无法到达 {host}:{port}（{reason}）。",
        "请检查本机的网络和路由。",
    ),
    Fault.SPEAKS_OTHER: FaultText(
        "{host}:{port} speaks {found}, where {wanted} is expected.",
        "Give the port that speaks {wanted}, or name this one by the option for {found}.",
        "{host}:{port} 使用的协议是 {found}，而预期为 {wanted}。",
        "请改用 {wanted} 的端口，或用 {found} 对应的选项指定此端口。",
    ),
    Fault.SPEAKS_UNKNOWN: FaultText(
        "{host}:{port} takes connections, but speaks neither {wanted} nor anything else that is known here ({reason}).",
        "Another program listens there, or a proxy whose server is down: check the port and the proxy.",
        "{host}:{port} 接受连接，但使用的不是 {wanted}，也不是其他已知协议（{reason}）。",
        "该端口被其他程序占用，或代理后面的服务未启动：请检查端口和代理。",
    ),
    Fault.NOT_LINKSTEAD: FaultText(
        "{host}:{port} answers HTTP, but not as Linkstead does: GET /healthz gave {status} ({server}).",
        "Another program listens there, or a proxy does not lead to Linkstead: check the port and the proxy.",
        "{host}:{port} 能应答 HTTP，但不是 Linkstead：GET /healthz 返回 {status}（{server}）。",
        "该端口被其他程序占用，或代理没有转发到 Linkstead：请检查端口和代理配置。",
    ),
    Fault.CA_FILE: FaultText(
        "The file of certificates to trust cannot be used ({reason}).",
        "Give --ca a PEM file with the certificate of the authority that signed the server's.",
        "无法使用受信任证书文件（{reason}）。",
        "请用 --ca 指定 PEM 文件，其中包含签发服务器证书的 CA 证书。",
    ),
    Fault.CERTIFICATE_UNTRUSTED: FaultText(
        "The certificate of {host}:{port} is of an authority that is not trusted here ({reason}).",
        "Give that authority's certificate with --ca, and to the SDK or the device; let the server send its whole "
        "chain.",
        "{host}:{port} 的证书由本机不信任的 CA 签发（{reason}）。",
        "请用 --ca 指定该 CA 的证书，并同样配置到 SDK 或设备；服务器应发送完整证书链。",
    ),
    Fault.CERTIFICATE_WRONG_NAME: FaultText(
        "The certificate is not for {host} ({reason}).",
        "Connect by a name that stands in the certificate, or have one made with this name or address in it.",
        "证书与 {host} 不匹配（{reason}）。",
        "请使用证书中的域名连接，或重新签发包含该域名或地址的证书。",
    ),
    Fault.CERTIFICATE_EXPIRED: FaultText(
        "The certificate has expired ({reason}).",
        "Put a new one in its place and start the server anew. If it should still be valid, this machine's clock is "
        "wrong.",
        "证书已过期（{reason}）。",
        "请更换证书并重启服务器；若证书应仍有效，则是本机时钟不准。",
    ),
    Fault.CERTIFICATE_NOT_YET_VALID: FaultText(
        "The certificate is not valid yet ({reason}).",
        "Check the clock of this machine, and of the one that made the certificate.",
        "证书尚未生效（{reason}）。",
        "请检查本机以及签发证书的机器的时钟。",
    ),
    Fault.TLS_OLD: FaultText(
        "{host}:{port} and this machine have no version of TLS in common ({reason}).",
        "The other side is older than TLS 1.2: bring it, or the proxy in front of it, up to date.",
        "{host}:{port} 与本机没有共同支持的 TLS 版本（{reason}）。",
        "对端仅支持低于 TLS 1.2 的版本：请升级该服务或其前面的代理。",
    ),
    Fault.TLS_FAILED: FaultText(
        "The TLS handshake with {host}:{port} failed ({reason}).",
        "Look in the log of the server, or of the proxy in front of it, at this moment.",
        "与 {host}:{port} 的 TLS 握手失败（{reason}）。",
        "请查看服务器或其前面的代理此刻的日志。",
    ),
    Fault.CLOCK_SKEW: FaultText(
        "The server's clock and this machine's differ by {skew}; more than {limit} is refused (InvalidTimeStamp).",
        "Set both clocks by NTP; Timestamp is UTC, without an offset.",
        "服务器与本机的时钟相差 {skew}，超过 {limit} 的请求会被拒绝（InvalidTimeStamp）。",
        "请用 NTP 校准两边的时钟；Timestamp 为 UTC 时间，不带时区偏移。",
    ),
    Fault.ACCESS_KEY_UNKNOWN: FaultText(
        "The server does not know the access key {access_key_id}.",
        "Check --access-key-id; `linkstead account list` shows the keys there are.",
        "服务器没有 AccessKey {access_key_id}。",
        "请检查 --access-key-id；`linkstead account list` 可列出现有的 AccessKey。",
    ),
    Fault.ACCESS_KEY_DISABLED: FaultText(
        "The access key {access_key_id} is disabled.",
        "Use another key; `linkstead account add-key` makes one.",
        "AccessKey {access_key_id} 已被禁用。",
        "请更换 AccessKey；可用 `linkstead account add-key` 新建。",
    ),
    Fault.ACCESS_KEY_SECRET_WRONG: FaultText(
        "The secret is not that of the access key {access_key_id}: both sides sign the same text.\n"
        "ours:     {ours}\nserver's: {theirs}",
        "Check --access-key-secret: whole, without blanks or quotes, and of this very key.",
        "Secret 与 AccessKey {access_key_id} 不匹配：双方的待签名字符串相同。\n本端：  {ours}\n服务端：{theirs}",
        "请检查 --access-key-secret：是否完整、没有空格和引号，且属于该 AccessKey。",
    ),
    Fault.SIGNATURE_DIFFERS: FaultText(
        "The request changed on its way: the two strings to sign part at character {place}.\n"
        "ours:     {ours}\nserver's: {theirs}",
        "A proxy between here and the server changes requests: have it pass Host, query, headers and body as they are.",
        "请求在途中被修改：两边的待签名字符串从第 {place} 个字符起不同。\n本端：  {ours}\n服务端：{theirs}",
        "中间的代理修改了请求：请让其原样转发 Host、查询参数、请求头和请求体。",
    ),
    Fault.QUOTA: FaultText(
        "The server refuses requests because there are too many a second ({code}).",
        "Call less often, or raise the limit: linkstead serve --quota ACTION=N.",
        "每秒请求数超限，服务器拒绝请求（{code}）。",
        "请降低调用频率，或提高限额：linkstead serve --quota ACTION=N。",
    ),
    Fault.FORBIDDEN: FaultText(
        "The access key {access_key_id} is that of a user whose policies do not allow {action}: {message}",
        "Give the user a policy that allows it (linkstead account policy set), or examine with the account's own key.",
        "AccessKey {access_key_id} 所属的 RAM 用户没有 {action} 的权限：{message}",
        "请为该用户授予相应的权限策略（linkstead account policy set），或改用账号本身的 AccessKey。",
    ),
    Fault.REQUEST_REFUSED: FaultText(
        "The server refused {action}: {code}: {message}",
        "The message names the parameter and the rule; the server's log has more.",
        "服务器拒绝了 {action}：{code}：{message}",
        "错误消息中已指出参数和规则；服务器日志中有更多信息。",
    ),
    Fault.NO_ANSWER: FaultText(
        "The server gave no answer that could be read ({reason}).",
        "Try again; look at the server's log and at proxies on the way.",
        "没有收到可读的应答（{reason}）。",
        "请重试，并检查服务器日志和中间的代理。",
    ),
    Fault.INSTANCE_UNKNOWN: FaultText(
        "The account has no instance {instance_id}, and the server tells instances apart.",
        "Correct IotInstanceId, leave it out, or make it: linkstead account add-instance.",
        "该账号没有实例 {instance_id}，且服务器区分实例。",
        "请更正或去掉 IotInstanceId，或用 linkstead account add-instance 新建实例。",
    ),
    Fault.PRODUCT_NOT_FOUND: FaultText(
        "The account of {access_key_id} has no product {product_key}: it is not there, or another account's.",
        "Check ProductKey and access key; --data on the server's machine tells which of the two it is.",
        "{access_key_id} 所属账号下没有产品 {product_key}：产品不存在，或属于其他账号。",
        "请检查 ProductKey 和 AccessKey；在服务器所在机器上加 --data 可区分这两种情况。",
    ),
    Fault.PRODUCT_NOT_THERE: FaultText(
        "There is no product {product_key} in the database, of whatever account.",
        "Check ProductKey; `linkstead product list` shows what there is, `linkstead product create` makes one.",
        "数据库中没有产品 {product_key}。",
        "请检查 ProductKey；`linkstead product list` 可列出产品，`linkstead product create` 可新建。",
    ),
    Fault.PRODUCT_OF_OTHER_ACCOUNT: FaultText(
        "The product {product_key} is there, but of another account than the access key {access_key_id}.",
        "Call with a key of account {account_id}.",
        "产品 {product_key} 存在，但不属于 AccessKey {access_key_id} 所在的账号。",
        "请使用账号 {account_id} 的 AccessKey。",
    ),
    Fault.DEVICE_NOT_FOUND: FaultText(
        "The product {product_key} has no device {device_name}.",
        "Check DeviceName, letter by letter; `linkstead device list {product_key}` shows what there is.",
        "产品 {product_key} 下没有设备 {device_name}。",
        "请逐字检查 DeviceName；`linkstead device list {product_key}` 可列出设备。",
    ),
    Fault.DEVICE_DISABLED: FaultText(
        "The device {device_name} is disabled: it cannot connect, and calls to it are refused.",
        "Enable it (EnableThing).",
        "设备 {device_name} 已被禁用：无法连接，也无法被调用。",
        "请启用设备（EnableThing）。",
    ),
    Fault.DEVICE_NEVER_ACTIVATED: FaultText(
        "The device {device_name} is registered, but has never connected.",
        "Do its host and port lead to this server, are its ProductKey, DeviceName and DeviceSecret right? With "
        "--device-secret this is tried from here.",
        "设备 {device_name} 已注册，但从未连接过。",
        "请检查设备侧的主机和端口是否指向本服务器，以及设备证书；加 --device-secret 可从本机尝试连接。",
    ),
    Fault.DEVICE_NOT_CONNECTED: FaultText(
        "The device {device_name} was connected once and is not now.",
        "Look at its power and network; the server's log says when and why its last connection ended.",
        "设备 {device_name} 曾经连接过，目前未连接。",
        "请检查设备的电源和网络；服务器日志中有其上次断开的时间和原因。",
    ),
    Fault.CLIENT_ID: FaultText(
        "The client id cannot be used: {reason}.",
        "Write it as ID|securemode=3,signmethod=hmacsha256,timestamp=…|, ID of 1 to 64 characters.",
        "clientId 不可用：{reason}。",
        "格式应为 ID|securemode=3,signmethod=hmacsha256,timestamp=…|，ID 为 1～64 个字符。",
    ),
    Fault.SIGN_METHOD: FaultText(
        "The client id names a signmethod that there is not: {reason}.",
        "Say signmethod=hmacsha256, hmacsha1 or hmacmd5, and sign the password by that very method.",
        "clientId 中的 signmethod 不受支持：{reason}。",
        "请使用 signmethod=hmacsha256、hmacsha1 或 hmacmd5，并用同一算法计算密码。",
    ),
    Fault.KEEP_ALIVE: FaultText(
        "A keep-alive of {keep_alive_s} s is refused: it has to be {low} to {high} s.",
        "Have the device ask for a keep-alive within these bounds; 60 s is usual.",
        "心跳间隔 {keep_alive_s} 秒会被拒绝：须为 {low}～{high} 秒。",
        "请将设备的心跳间隔设在此范围内，通常为 60 秒。",
    ),
    Fault.MQTT_PASSWORD: FaultText(
        "The device's password is not what its secret makes by {sign_method} of this text: {content}",
        "Sign exactly this text, no sign more or less, with DeviceSecret, and send the hex of it.",
        "设备的密码与用 DeviceSecret 按 {sign_method} 对以下内容签名的结果不一致：{content}",
        "请用 DeviceSecret 对该内容（一字不差）签名，并以十六进制发送。",
    ),
    Fault.DEVICE_SECRET_WRONG: FaultText(
        "The server refused the device (CONNACK {code}): it is there and enabled, so the secret is not its own.",
        "Check DeviceSecret: whole, of this device, and not ProductSecret.",
        "服务器拒绝了设备连接（CONNACK {code}）：设备存在且已启用，因此 DeviceSecret 不正确。",
        "请检查 DeviceSecret：是否完整、属于该设备，且不是 ProductSecret。",
    ),
    Fault.DEVICE_REFUSED: FaultText(
        "The server refused the device (CONNACK {code}): it is not there, or disabled, or its secret is another.",
        "Check ProductKey, DeviceName and DeviceSecret; with an access key that works, the doctor tells which it is.",
        "服务器拒绝了设备连接（CONNACK {code}）：设备不存在、已被禁用，或 DeviceSecret 不正确。",
        "请检查 ProductKey、DeviceName 和 DeviceSecret；提供可用的 AccessKey 后可进一步区分。",
    ),
    Fault.CONNECT_REFUSED: FaultText(
        "The server refused the CONNECT ({reason}).",
        "The server's log says why, in the line `CONNECT refused`.",
        "服务器拒绝了 CONNECT（{reason}）。",
        "原因见服务器日志中的 `CONNECT refused` 一行。",
    ),
    Fault.TOPIC_FORM: FaultText(
        "{topic} is no custom topic of this device: those begin with /{product_key}/{device_name}/.",
        "Correct the topic; system topics (/sys/…) need no class.",
        "{topic} 不是该设备的自定义 Topic：应以 /{product_key}/{device_name}/ 开头。",
        "请更正 Topic；系统 Topic（/sys/…）无需定义。",
    ),
    Fault.TOPIC_CLASS_MISSING: FaultText(
        "No topic class of the product lets a device subscribe to {topic}.",
        "Add it: linkstead product add-topic, or CreateProductTopic with Operation SUB or ALL.",
        "产品没有允许设备订阅 {topic} 的 Topic 类。",
        "请添加：linkstead product add-topic，或 CreateProductTopic（Operation 为 SUB 或 ALL）。",
    ),
    Fault.TOPIC_NOT_SUBSCRIBED: FaultText(
        "The device is connected, but not subscribed to {topic}; it is to: {subscriptions}",
        "Have the device subscribe when it connects, and check that the two are spelled alike.",
        "设备已连接，但没有订阅 {topic}；已订阅：{subscriptions}",
        "请让设备在连接后订阅该 Topic，并检查两边的拼写是否一致。",
    ),
    Fault.EXT_NOT_SET: FaultText(
        "The device connected with ext={ext}: it does not offer /ext/rrpc/, which an RRpc with a Topic goes to.",
        "Connect the device with ext=1 in its client id, or call without Topic.",
        "设备连接时 ext={ext}：未声明支持 /ext/rrpc/，而带 Topic 的 RRpc 需要它。",
        "请在设备的 clientId 中加上 ext=1，或调用时不传 Topic。",
    ),
    Fault.MODEL_NOT_PUBLISHED: FaultText(
        "No thing model of {product_key} is published: InvokeThingService finds no service there.",
        "Publish it: PublishThingModel, or linkstead product import-model.",
        "产品 {product_key} 没有已发布的物模型：InvokeThingService 找不到服务。",
        "请发布物模型：PublishThingModel，或 linkstead product import-model。",
    ),
    Fault.SERVICE_UNKNOWN: FaultText(
        "The published thing model has no service {service}; it has: {services}",
        "Check the identifier, letter by letter (a module's is MODULE:NAME), and whether the draft was published.",
        "已发布的物模型中没有服务 {service}；现有：{services}",
        "请逐字检查标识符（模块中的服务为 模块:名称），以及草稿是否已发布。",
    ),
    Fault.CALL_FAILED: FaultText(
        "An RRpc to the device that was connected from here ended with {verdict} ({diagnosis}).",
        "The timeline says how far it came.",
        "对本机所连接设备的 RRpc 以 {verdict} 结束（{diagnosis}）。",
        "时间线显示调用进行到了哪一步。",
    ),
    Fault.AMQP_LOGIN: FaultText(
        "The AMQP login was refused: no such access key, not its secret, or disabled (SASL outcome {code}).",
        "Check the access key. The password is Base64 of the HMAC of authId=…&timestamp=… under its secret.",
        "AMQP 登录被拒绝：AccessKey 不存在、Secret 不正确或已被禁用（SASL 结果 {code}）。",
        "请检查 AccessKey。密码为用 Secret 对 authId=…&timestamp=… 做 HMAC 后的 Base64。",
    ),
    Fault.CONSUMER_GROUP_UNKNOWN: FaultText(
        "The account has no consumer group {consumer_group_id}.",
        "Take its id, not its name; `linkstead consumer-group list` shows what there is.",
        "该账号没有消费组 {consumer_group_id}。",
        "请使用消费组 ID 而非名称；`linkstead consumer-group list` 可列出消费组。",
    ),
    Fault.AMQP_REFUSED: FaultText(
        "The server ended the AMQP connection: {reason}.",
        "The reason names the rule; the server's log has more.",
        "服务器关闭了 AMQP 连接：{reason}。",
        "原因中已指出规则；服务器日志中有更多信息。",
    ),
    Fault.DATABASE_MISSING: FaultText(
        "There is no database {path}.",
        "Name the server's with --data or --database, as the user that the server runs as.",
        "没有数据库 {path}。",
        "请用 --data 或 --database 指定服务器的数据库，并以运行服务器的用户执行。",
    ),
    Fault.DATABASE_UNREADABLE: FaultText(
        "The database {path} cannot be read ({reason}).",
        "Check owner and mode of the file and its folder; if it is damaged, restore a copy.",
        "无法读取数据库 {path}（{reason}）。",
        "请检查文件及其目录的属主和权限；若文件已损坏，请从备份恢复。",
    ),
    Fault.DATABASE_REVISION_OLD: FaultText(
        "The tables of {path} are of revision {revision}, this version's of {wanted}.",
        "Nothing, if the server is of this version: it brings them up to date when it starts. Make a copy before.",
        "{path} 的表结构版本为 {revision}，当前版本为 {wanted}。",
        "若服务器已是当前版本，启动时会自动升级；升级前请先备份。",
    ),
    Fault.DATABASE_REVISION_UNKNOWN: FaultText(
        "The tables of {path} are of revision {revision}, which this version does not know (it knows up to {wanted}).",
        "Run the version that wrote it, or a later one.",
        "{path} 的表结构版本为 {revision}，当前版本不认识（最高 {wanted}）。",
        "请使用写入该数据库的版本或更新的版本。",
    ),
    Fault.DISK_FULL: FaultText(
        "The disk of {path} has {free} left, less than {wanted}.",
        "Make room: with a full disk calls are refused. Retention times bound what is kept.",
        "{path} 所在磁盘仅剩 {free}，低于 {wanted}。",
        "请清理磁盘：磁盘写满后调用会被拒绝；可缩短数据保留时间。",
    ),
    Fault.FILE_MODE: FaultText(
        "Others than the owner may read {path} (mode {mode}), and it holds secrets.",
        "chmod 600 {path}",
        "{path} 可被属主以外的用户读取（权限 {mode}），而其中含有密钥。",
        "chmod 600 {path}",
    ),
    Fault.MASTER_KEY_FILE: FaultText(
        "The file with the master key cannot be used ({reason}).",
        "Give the server's own --master-key-file: 32 bytes in Base64 a line, the present key first.",
        "主密钥文件不可用（{reason}）。",
        "请用 --master-key-file 指定服务器的主密钥文件：每行一个 32 字节密钥的 Base64，当前密钥在第一行。",
    ),
    Fault.MASTER_KEY_MISSING: FaultText(
        "Secrets in the database are sealed under master keys that are not at hand: {key_ids}",
        "Give --master-key-file with those keys in it, to the server as well; without them the secrets cannot be read.",
        "数据库中的密钥由未提供的主密钥加密：{key_ids}",
        "请用 --master-key-file 提供这些主密钥（服务器同样需要）；缺少它们则无法读取。",
    ),
    Fault.CERTIFICATE_FILE: FaultText(
        "The certificate {cert} and its key {key} cannot be used ({reason}).",
        "Both are PEM files; the chain begins with the server's own certificate, and the key is the one it was made "
        "for.",
        "证书 {cert} 及其私钥 {key} 不可用（{reason}）。",
        "两者均须为 PEM 文件；证书链以服务器自身证书开头，且私钥与之匹配。",
    ),
    Fault.DEVICE_CERTIFICATE_MISSING: FaultText(
        "The devices of product {product_key} show a certificate (AuthType x509), and none is registered for "
        "{device_name}.",
        "Register the one that it has (`linkstead device set-certificate`), or make one (`linkstead device "
        "issue-certificate`).",
        "产品 {product_key} 的设备使用 X.509 证书认证（AuthType x509），但设备 {device_name} 未登记证书。",
        "请登记设备已有的证书（`linkstead device set-certificate`），或签发新证书（`linkstead device "
        "issue-certificate`）。",
    ),
    Fault.DEVICE_CERTIFICATE_EXPIRED: FaultText(
        "The certificate of device {device_name} expired on {not_after}.",
        "Make a new one (`linkstead device issue-certificate`) and put it into the device.",
        "设备 {device_name} 的证书已于 {not_after} 过期。",
        "请签发新证书（`linkstead device issue-certificate`）并写入设备。",
    ),
}

TITLES = {
    "name": ("name", "域名解析"),
    "port": ("port", "端口"),
    "protocol": ("protocol", "协议"),
    "clock": ("clocks agree", "时钟一致"),
    "signature-v1": ("access key, signature version 1", "AccessKey，V1 签名"),
    "signature-v3": ("access key, signature version 3", "AccessKey，V3 签名"),
    "instance": ("instance", "实例"),
    "product": ("product", "产品"),
    "device": ("device", "设备"),
    "client-id": ("what the device sends in CONNECT", "设备的 CONNECT 参数"),
    "device-login": ("device logs in", "设备登录"),
    "connection": ("device is connected", "设备在线"),
    "topic-class": ("topic class", "Topic 类"),
    "subscription": ("device subscribed", "设备订阅"),
    "ext": ("carrier of calls (ext)", "调用载体（ext）"),
    "thing-model": ("thing model", "物模型"),
    "call": ("a call and its answer", "一次调用及其应答"),
    "amqp-login": ("consumer logs in", "消费者登录"),
    "amqp-link": ("consumer's link", "消费者链路"),
    "database": ("database", "数据库"),
    "database-mode": ("mode of the database file", "数据库文件权限"),
    "disk": ("free disk", "磁盘空间"),
    "certificate": ("certificate files", "证书文件"),
    "certificate-mode": ("mode of the private key", "私钥文件权限"),
    "device-certificate": ("certificate of the device", "设备证书"),
    "master-key": ("master key", "主密钥"),
    "nats": ("NATS", "NATS"),
}
"""The steps in English and Chinese; those of a port by what stands behind the dot."""
