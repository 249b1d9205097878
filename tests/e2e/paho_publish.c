// Publishes the lines of standard input with Paho for C: paho_publish PORT VERSION QOS CLIENT TOPIC, VERSION being 4 or 5.
// Ends with 0 when all are acknowledged.
#include <MQTTClient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kPatienceMs = 30000 };

int main(int argc, char** argv) {
  if (argc != 6) {
    return 64;
  }
  const int is_5 = strcmp(argv[2], "5") == 0;
  const int qos = atoi(argv[3]);
  char address[64];
  snprintf(address, sizeof address, "tcp://127.0.0.1:%s", argv[1]);
  MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
  create.MQTTVersion = is_5 ? MQTTVERSION_5 : MQTTVERSION_3_1_1;
  MQTTClient client;
  if (MQTTClient_createWithOptions(&client, address, argv[4], MQTTCLIENT_PERSISTENCE_NONE, NULL, &create) != 0) {
    return 70;
  }
  MQTTClient_connectOptions connect = MQTTClient_connectOptions_initializer;
  MQTTClient_connectOptions connect_5 = MQTTClient_connectOptions_initializer5;
  connect.MQTTVersion = MQTTVERSION_3_1_1;
  connect.reliable = connect_5.reliable = 0;  // more than one in flight
  const int connected =
      is_5 ? MQTTClient_connect5(client, &connect_5, NULL, NULL).reasonCode : MQTTClient_connect(client, &connect);
  if (connected != 0) {
    fprintf(stderr, "connect: %d\n", connected);
    return 75;
  }
  char line[4096];
  MQTTClient_deliveryToken token = 0;
  while (fgets(line, sizeof line, stdin) != NULL) {
    MQTTClient_message message = MQTTClient_message_initializer;
    line[strcspn(line, "\n")] = '\0';
    message.payload = line;
    message.payloadlen = (int)strlen(line);
    message.qos = qos;
    const int sent = is_5 ? MQTTClient_publishMessage5(client, argv[5], &message, &token).reasonCode
                          : MQTTClient_publishMessage(client, argv[5], &message, &token);
    if (sent != 0) {
      fprintf(stderr, "publish: %d\n", sent);
      return 75;
    }
  }
  // Answers come in the order of the publishes: the last one's is the end.
  if (qos > 0 && MQTTClient_waitForCompletion(client, token, kPatienceMs) != 0) {
    return 75;
  }
  is_5 ? MQTTClient_disconnect5(client, kPatienceMs, MQTTREASONCODE_SUCCESS, NULL) : MQTTClient_disconnect(client, kPatienceMs);
  MQTTClient_destroy(&client);
  return 0;
}
