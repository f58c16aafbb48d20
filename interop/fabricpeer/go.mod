// Fabric v1.4 has no go.mod. Its own lock's versions of grpc, protobuf and zap still build, and stand
// here, as they decide what goes over the wire. `go mod tidy` would raise them for the sake of
// dependencies' tests: use `go get` and `go build` in its place.
module switchboard/interop/fabricpeer

go 1.26.8

require (
	github.com/golang/protobuf v1.2.0
	github.com/hyperledger/fabric v1.4.12
	google.golang.org/grpc v1.15.0
)

require (
	github.com/fsnotify/fsnotify v1.10.1 // indirect
	github.com/grpc-ecosystem/go-grpc-middleware v1.0.0 // indirect
	github.com/hashicorp/hcl v1.0.0 // indirect
	github.com/hyperledger/fabric-amcl v0.0.0-20181230093703-5ccba6eab8d6 // indirect
	github.com/hyperledger/fabric-lib-go v1.0.0 // indirect
	github.com/magiconair/properties v1.18.12 // indirect
	github.com/mitchellh/mapstructure v1.5.0 // indirect
	github.com/op/go-logging v0.0.0-20160315200505-970db520ece7 // indirect
	github.com/pelletier/go-toml v1.9.5 // indirect
	github.com/pkg/errors v0.8.1 // indirect
	github.com/spf13/afero v1.15.0 // indirect
	github.com/spf13/cast v1.10.0 // indirect
	github.com/spf13/jwalterweatherman v1.1.0 // indirect
	github.com/spf13/pflag v1.0.10 // indirect
	github.com/spf13/viper v1.0.2 // indirect
	github.com/sykesm/zap-logfmt v0.0.2 // indirect
	go.uber.org/atomic v1.3.2 // indirect
	go.uber.org/multierr v1.1.0 // indirect
	go.uber.org/zap v1.9.1 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/net v0.60.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	google.golang.org/genproto v0.0.0-20180817151627-c66870c02cf8 // indirect
	gopkg.in/yaml.v2 v2.2.1 // indirect
)
