"""The rows of the catalogue that code raises, by name."""

from linkstead.errors import CATALOGUE, ErrorRow


def _row(code: str) -> ErrorRow:
    return CATALOGUE[code]


# gateway: authentication
INVALID_ACCESS_KEY_ID_NOT_FOUND = _row("InvalidAccessKeyId.NotFound")
INVALID_ACCESS_KEY_ID_INACTIVE = _row("InvalidAccessKeyId.Inactive")
SIGNATURE_DOES_NOT_MATCH = _row("SignatureDoesNotMatch")
INCOMPLETE_SIGNATURE = _row("IncompleteSignature")
SIGNATURE_NONCE_USED = _row("SignatureNonceUsed")
INVALID_TIME_STAMP_FORMAT = _row("InvalidTimeStamp.Format")
INVALID_TIME_STAMP_EXPIRED = _row("InvalidTimeStamp.Expired")
INVALID_SIGNATURE_METHOD = _row("InvalidSignatureMethod")
INVALID_SIGNATURE_VERSION = _row("InvalidSignatureVersion")
MISSING_SECURITY_TOKEN = _row("MissingSecurityToken")
INVALID_SECURITY_TOKEN_EXPIRED = _row("InvalidSecurityToken.Expired")
INVALID_SECURITY_TOKEN_MALFORMED = _row("InvalidSecurityToken.Malformed")
INVALID_SECURITY_TOKEN_MISMATCH = _row("InvalidSecurityToken.MismatchWithAccessKey")

# gateway: everything else
FORBIDDEN_RAM = _row("Forbidden.RAM")
INVALID_VERSION = _row("InvalidVersion")
INVALID_PARAMETER_FORMAT = _row("InvalidParameter.Format")
INVALID_ACTION_NOT_FOUND = _row("InvalidAction.NotFound")
UNSUPPORTED_HTTP_METHOD = _row("UnsupportedHTTPMethod")
THROTTLING_USER = _row("Throttling.User")
INTERNAL_ERROR = _row("InternalError")
SERVICE_UNAVAILABLE = _row("ServiceUnavailable")

# all actions
SYSTEM_EXCEPTION = _row("iot.system.SystemException")
ILLEGAL_REQUEST = _row("iot.system.IllegalRequest")
INVALID_PAGE_PARAMS = _row("iot.common.InvalidPageParams")
INVALID_FORMATTED_PARAMETER = _row("iot.common.InvalidFormattedParameter")
IOT_INSTANCE_NOT_FOUND = _row("iot.auth.IotInstanceNotFound")

# products
NULL_PRODUCT_KEY = _row("iot.prod.NullProductKey")
INVALID_FORMATTED_PRODUCT_KEY = _row("iot.prod.InvalidFormattedProductkey")
NOT_EXISTED_PRODUCT = _row("iot.prod.NotExistedProduct")
NULL_PRODUCT_NAME = _row("iot.prod.NullProductName")
INVALID_FORMATTED_PRODUCT_NAME = _row("iot.prod.InvalidFormattedProductName")
ALREADY_EXISTED_PRODUCT_NAME = _row("iot.prod.AlreadyExistedProductName")
INVALID_NODE_TYPE = _row("iot.prod.InvalidNodeType")
INVALID_ALIYUN_COMMODITY_CODE = _row("iot.prod.InvalidAliyunCommodityCode")
LONG_PRODUCT_DESC = _row("iot.prod.LongProductDesc")
PRODUCT_COUNT_EXCEED_MAX = _row("iot.prod.ProductCountExceedMax")
INVALID_FORMATTED_CAT_ID = _row("iot.prod.InvalidFormattedCatId")
CREATE_PRODUCT_FAILED = _row("iot.prod.CreateProductFailed")

# thing models
BATCH_CREATE_THING_MODEL_FAILED = _row("iot.prod.BatchCreateThingModelFailed")
THING_MODEL_NAME_DUPLICATED = _row("iot.prod.ThingModelNameDuplicated")
QUERY_PRODUCT_ABILITIES_FAILED = _row("iot.prod.QueryProductAbilitiesFailed")

# scripts
INVALID_SCRIPT_TYPE = _row("iot.prod.InvalidScriptType")
THING_SCRIPT_EXISTED = _row("iot.prod.ThingScriptExisted")
THING_SCRIPT_DATA_FORMAT_ERROR = _row("iot.prod.ThingScriptDataFormatError")

# devices
NULL_DEVICE_NAME = _row("iot.device.NullDeviceName")
INVALID_FORMATTED_DEVICE_NAME = _row("iot.device.InvalidFormattedDeviceName")
NOT_EXISTED_DEVICE = _row("iot.device.NotExistedDevice")
ALREADY_EXISTED_DEVICE_NAME = _row("iot.device.AlreadyExistedDeviceName")
INVALID_IOT_ID = _row("iot.device.InvalidIoTId")
NONE_DEVICE_NAME_ELEMENT = _row("iot.device.NoneDeviceNameElement")
INVALID_DEVICE_NICKNAME = _row("iot.device.InvalidDeviceNickNameExisted")
CREATE_DEVICE_FAILED = _row("iot.device.CreateDeviceFailed")

# topology
ADD_TOPO_RELATION_FAILED = _row("iot.device.AddTopoRelationFailed")
QUERY_TOPO_RELATION_FAILED = _row("iot.device.QueryTopoRelationFailed")
REMOVE_TOPO_RELATION_FAILED = _row("iot.device.RemoveTopoRelationFailed")
TOPO_RELATION_COUNT_EXCEEDED = _row("iot.device.TopoRelationCountExceeded")

# devices in bulk
APPLY_MANY_DEVICES_FAILED = _row("iot.device.ApplyManyDevicesFailed")
CREATE_DEVICE_TASK_IS_RUNNING = _row("iot.device.CreateDeviceTaskIsRunning")
DEVICE_APPLY_IS_NOT_FOUND = _row("iot.device.DeviceApplyIsNotFound")
DEVICE_COUNT_EXCEEDED = _row("iot.device.DeviceCountExceeded")
INCORRENT_DEVICE_APPLY_INFO = _row("iot.device.IncorrentDeviceApplyInfo")
INVALID_FORMATTED_APPLY_ID = _row("iot.device.InvalidFormattedApplyId")

# device tags
DELETE_DEVICE_PROPERTY_FAILED = _row("iot.device.DeleteDevicePropertyFailed")
INVALID_FORMATTED_DEVICE_PROPERTY_KEY = _row("iot.device.InvalidFormattedDevicePropertyKey")
INVALID_FORMATTED_DEVICE_PROPERTIES_STRING = _row("iot.device.InvalidFormattedDevicePropertiesString")
LONG_DEVICE_PROPERTIES_STRING = _row("iot.device.LongDevicePropertiesString")
NULL_DEVICE_PROPERTY_KEY = _row("iot.device.NullDevicePropertyKey")
NULL_DEVICE_PROPERTIES_STRING = _row("iot.device.NullDevicePropertiesString")

# device data
INVALID_TIME_BUCKET = _row("iot.device.InvalidTimeBucket")
NONE_DEVICE_PROPERTIES = _row("iot.device.NoneDeviceProperties")
TOO_MANY_DEVICE_PROPERTIES_PER_TIME = _row("iot.device.TooManyDevicePropertiesPerTime")

# groups
NOT_EXISTED_GROUP = _row("iot.group.NotExistedGroup")

# consumer groups
CALLBACK_TYPE_EMPTY = _row("iot.consumer.group.CallbackTypeEmpty")
CHANGE_DEFAULT_CONSUMER_GROUP_NOT_ALLOWED = _row("iot.consumer.group.ChangeDefaultConsumerGroupNotAllowed")
CONSUMER_GROUP_EXCEEDS_LIMIT = _row("iot.consumer.group.ConsumerGroupExceedsLimit")
CONSUMER_GROUP_EXCEED_LIMIT = _row("iot.consumer.group.ConsumerGroupExceedLimit")
CONSUMER_GROUP_NAME_EXISTED = _row("iot.consumer.group.ConsumerGroupNameExisted")
CONSUMER_GROUP_NOT_EXIST = _row("iot.consumer.group.ConsumerGroupNotExist")
CREATE_CONSUMER_GROUP_FAILED = _row("iot.consumer.group.CreateConsumerGroupFailed")
DELETE_CONSUMER_GROUP_FAILED = _row("iot.consumer.group.DeleteConsumerGroupFailed")
INVALID_CONSUMER_GROUP = _row("iot.consumer.group.InvalidConsumerGroup")
INVALID_CONSUMER_GROUP_ID = _row("iot.consumer.group.InvalidConsumerGroupId")
INVALID_CONSUMER_GROUP_NAME = _row("iot.consumer.group.InvalidConsumerGroupName")
INVALID_SUBSCRIBE_TYPE = _row("iot.consumer.group.InvalidSubscribeType")
MNS_NOT_SUPPORT = _row("iot.consumer.group.MnsNotSupport")

# messages
NULL_MESSAGE_CONTENT = _row("iot.messagebroker.NullMessageContent")
MESSAGE_CONTENT_NOT_BASE64 = _row("iot.messagebroker.MessageContentIsNotBase64Encode")
INVALID_TIMEOUT_VALUE = _row("iot.messagebroker.InvalidTimeoutValue")
NULL_TOPIC_NAME = _row("iot.messagebroker.NullTopicName")
INVALID_FORMATTED_TOPIC_NAME = _row("iot.messagebroker.InvalidFormattedTopicName")
PUBLISH_MESSAGE_FAILED = _row("iot.messagebroker.PublishMessageFailed")
MESSAGE_RATE_LIMIT = _row("iot.messagebroker.RateLimit")
INVALID_FORMATTED_TOPIC_TEMPLATE_ID = _row("iot.messagebroker.InvalidFormattedTopicTemplateId")
INVALID_TOPIC_TEMPLATE_OPERATION = _row("iot.messagebroker.InvalidTopicTemplateOperationValue")
NULL_TOPIC_TEMPLATE_ID = _row("iot.messagebroker.NullTopicTemplateId")
NULL_TOPIC_TEMPLATE_OPERATION = _row("iot.messagebroker.NullTopicTemplateOperation")
TOPIC_ALREADY_FOUND = _row("iot.messagebroker.TopicAlreadyFound")
TOPIC_TEMPLATE_COUNT_EXCEED_MAX = _row("iot.messagebroker.TopicTemplateCountExceedMax")
TOPIC_TEMPLATE_IS_NOT_FOUND = _row("iot.messagebroker.TopicTemplateIsNotFound")
RRPC_FAILED = _row("iot.messagebroker.RrpcFailed")
MESSAGE_OFFLINE = _row("iot.messagebroker.OFFLINE")
MESSAGE_HALFCONN = _row("iot.messagebroker.HALFCONN")
MESSAGE_TIMEOUT = _row("iot.messagebroker.TIMEOUT")

# shadows
NULL_SHADOW_MESSAGE = _row("iot.messagebroker.NullShadowMessage")
SHADOW_MESSAGE_TOO_LARGE = _row("iot.messagebroker.ShadowMessageLengthIsLarge")
SHADOW_MESSAGE_NOT_JSON = _row("iot.messagebroker.ShadowMessageIsNotJson")
NO_METHOD_IN_SHADOW_MESSAGE = _row("iot.messagebroker.NotFoundMethodInShadowMessage")
METHOD_IS_NOT_UPDATE = _row("iot.messagebroker.MethodValueIsNotUpdate")
NO_STATE_IN_SHADOW_MESSAGE = _row("iot.messagebroker.NotFoundStateInShadowMessage")
NO_VERSION_IN_SHADOW_MESSAGE = _row("iot.messagebroker.NotFoundVersionOrNullVersionValue")
INVALID_VERSION_IN_SHADOW_MESSAGE = _row("iot.messagebroker.InvalidVersionValueInShadowMessage")
NO_DESIRE_IN_SHADOW_MESSAGE = _row("iot.messagebroker.NotFoundDesireInShadowMessage")
DESIRE_IS_NULL = _row("iot.messagebroker.DesireValueIsNullInShadowMessage")
DESIRE_IS_NOT_JSON = _row("iot.messagebroker.DesireInfoInShadowMessageIsNotJson")
NO_ELEMENT_IN_DESIRE = _row("iot.messagebroker.NoneElementInDesire")
ELEMENT_IS_NULL_IN_DESIRE = _row("iot.messagebroker.ElementKeyOrValueIsNullInDesire")
TOO_MANY_ELEMENTS_IN_DESIRE = _row("iot.messagebroker.TooManyElementInDesire")
UPDATE_DEVICE_SHADOW_FAILED = _row("iot.messagebroker.UpdateDeviceShadowMessageFailed")

# thing services
CHECK_INVALID_FORMATTED_PARAMETER = _row("iot.check.InvalidFormattedParameter")
NOT_SENIOR_PRODUCT = _row("iot.prod.NotSeniorProduct")
INACTIVE_DEVICE = _row("iot.device.InactiveDevice")
INVOKE_THING_SERVICE_FAILED = _row("iot.device.InvokeThingServiceFailed")
SET_DEVICE_PROPERTY_FAILED = _row("iot.device.SetDevicePropertyFailed")
