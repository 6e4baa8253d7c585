import com.structurizr.dsl.StructurizrDslParser;
import com.structurizr.util.WorkspaceUtils;
import java.io.File;

/** Prints what Structurizr itself reads from a workspace, as JSON. */
public class Parse {
    public static void main(String[] arguments) throws Exception {
        StructurizrDslParser parser = new StructurizrDslParser();
        parser.parse(new File(arguments[0]));
        System.out.println(WorkspaceUtils.toJson(parser.getWorkspace(), false));
    }
}
