package model

import (
	"bytes"
	_ "embed" // schema.json
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// SchemaJSON is the JSON Schema (draft 2020-12) of bundle.json.
//
//go:embed schema.json
var SchemaJSON []byte

const schemaURL = "nightseg-bundle.json"

var compiledSchema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(SchemaJSON))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(schemaURL, doc); err != nil {
		return nil, err
	}
	return c.Compile(schemaURL)
})

// validate checks a document against the schema; the error lists each fault
// with its place in the document.
func validate(doc []byte) error {
	if !utf8.Valid(doc) {
		return errors.New("is not UTF-8 text")
	}
	schema, err := compiledSchema()
	if err != nil {
		return fmt.Errorf("the built-in schema: %w", err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		return fmt.Errorf("is not JSON: %w", err)
	}
	err = schema.Validate(value)
	var bad *jsonschema.ValidationError
	if errors.As(err, &bad) {
		return errors.New(strings.Join(faults(nil, bad), "; "))
	}
	return err
}

// faults lists the leaves of a validation error: the branches above them only
// say that something below is wrong.
func faults(list []string, e *jsonschema.ValidationError) []string {
	for _, cause := range e.Causes {
		list = faults(list, cause)
	}
	if len(e.Causes) == 0 {
		place := strings.Join(e.InstanceLocation, ".")
		if place == "" {
			place = "top level"
		}
		printer := message.NewPrinter(language.English)
		list = append(list, place+": "+e.ErrorKind.LocalizedString(printer))
	}
	return list
}
